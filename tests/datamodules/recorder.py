"""A network that learns nothing and keeps what it is trained on, trained by Lightning."""

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.factories import QUIET


class Recorder(L.LightningModule):
    """Keeps what it is trained on, by epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches = {}

    def training_step(self, batch, _):
        self.batches.setdefault(self.current_epoch, []).append(batch)
        return self.weight * 0

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(data, folder, checkpoint=None):
    """The batches of each of 4 epochs; `folder` then has a checkpoint `epoch=N.ckpt` of each."""
    model = Recorder()
    keep = ModelCheckpoint(folder, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    trainer = L.Trainer(**QUIET | {"enable_checkpointing": True}, max_epochs=4, callbacks=[keep])
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=False)
    return model.batches
