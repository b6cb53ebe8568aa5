"""What a checkpoint is good for: its test again, another test, answers to any video, where its network looks."""
