"""A stand-in for the W&B server, for tests: it answers what the client asks, keeps every byte, and shows nothing.

Written from what wandb 0.31.0 sends. A question that it does not know is kept in `unknown`, and a test demands that
there is none: the first alarm when a new version of wandb asks something else.

What it cannot prove (that the service takes all this, how it looks, rights and quotas) takes a person with an account
ten minutes. Note the date and wandb's version beside the outcome.

1.  `wandb login`; look in the settings of the account that new projects are private.
2.  `python experiments/run.py strategy=single_frame training.steps=100` prints an address: open it. There are charts
    under train, test, speed; in the summary test/..., model/..., record; two tables and a picture under per_class,
    confusion.
3.  Under "Overview" the run is `finished`, has its group, job type `train`, three tags, and no "Code" tab.
4.  The same with `seed=1`, and Ctrl-C in the middle: it is `failed`. Again: the same run goes on, its charts in one
    piece.
5.  The same with `seed=2 wandb.mode=offline`, then `run.py --sync`: the run is there; `--sync` again sends nothing.
6.  `run.py --sweep lecture`: a group `lecture`, and one run of job type `report` with the table of
    `results/table.md`, bars, and table.csv under "Artifacts". Again with `--force`: still one report.
7.  `wandb sweep --project vidfusion experiments/sweeps/lecture.yaml`, then the `wandb agent` line it prints: four runs
    under "Sweeps" that skip what 6 finished, and after `rm -r results/runs` four that make records with its ids.
8.  The same as 2 with `seed=3 wandb.private=true`: no tables, pictures, host, command, packages, console.
9.  `run.py --sweep lecture --dashboard` prints two addresses: no panel of the workspace and of the report is empty, but
    for validation. Bars and curves have a colour for each strategy, the table is that of 6, its columns show hits.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote

ENTITY = "tester"


@dataclass
class Run:
    """What arrived of one run."""

    fields: dict[str, Any] = field(default_factory=dict)  # of UpsertBucket: groupName, jobType, tags, sweep, ...
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    artifacts: dict[str, dict[str, bytes]] = field(default_factory=dict)
    exit_code: int | None = None


class Server:
    """Listens on a port of this machine between `start` and `stop`; started again, on the same one."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.received: list[bytes] = []  # every byte but the Authorization header's
        self.keys: set[str] = set()  # what that one held
        self.unknown: list[str] = []
        self.views: list[dict[str, Any]] = []  # workspaces and reports
        self.dies_in: str | None = None  # a run, by the beginning of its id: no answer when its first rows arrive
        self._artifacts: dict[str, tuple[str, str]] = {}  # run and name
        self._lock = threading.Lock()
        self._port = 0

    def start(self) -> Server:
        self._http = _Http(("127.0.0.1", self._port), self._handler())
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Cut all connections at once."""
        self._http.shutdown()
        self._http.server_close()
        for connection in self._http.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = server.receive(f"{self.command} {self.path}", self.headers, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_):
                pass

        return Handler

    def receive(self, line: str, headers: HTTPMessage, body: bytes) -> tuple[int, bytes]:
        """Keep a request, and return status and content of the answer."""
        plain = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        with self._lock:
            shown = [f"{name}: {value}" for name, value in headers.items() if name != "Authorization"]
            self.received.append("\n".join([line, *shown]).encode() + b"\n" + body + b"\n" + plain)
            self.keys |= {base64.b64decode(key.split()[1]).decode() for key in headers.get_all("Authorization", [])}
            try:
                return 200, json.dumps(self._answer(line, plain)).encode()
            except LookupError as error:
                self.unknown.append(f"{line}: {error!r}")
                return 404, b"{}"

    def _answer(self, line: str, body: bytes) -> dict[str, Any]:
        if line == "POST /graphql":
            request = json.loads(body)
            operation = re.search(r"(?:query|mutation) *(\w*)", request["query"])[1]
            return {"data": self._graphql(operation, request.get("variables") or {})}
        if line in ("POST /sdk/otel/v1/metrics", "POST /sdk/otel/v1/logs"):  # the client's own telemetry
            return {}
        if found := re.fullmatch(r"POST /files/[^/]+/[^/]+/([^/]+)/file_stream", line):
            if self.dies_in and found[1].startswith(self.dies_in):
                self.dies_in = None
                self.stop()
            self._stream(self.runs[found[1]], json.loads(body))
            return {}
        if found := re.fullmatch(r"PUT /storage/(run|artifact)/([^/]+)/(.+)", line):
            kind, owner, name = found[1], found[2], unquote(found[3])
            if kind == "run":
                self.runs[owner].files[name] = body
            else:
                run, artifact = self._artifacts[owner]
                self.runs[run].artifacts[artifact][name] = body
            return {}
        raise LookupError("unknown address")

    def _stream(self, run: Run, content: dict[str, Any]) -> None:
        for name, part in content.get("files", {}).items():
            if name == "wandb-history.jsonl":
                run.history[part["offset"] :] = map(json.loads, part["content"])
            elif name == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
        if content.get("complete"):
            run.exit_code = content["exitcode"]

    def _upload(self, kind: str, owner: str, name: str) -> dict[str, Any]:
        return {"uploadUrl": f"{self.url}/storage/{kind}/{owner}/{quote(name)}", "uploadHeaders": []}

    def _graphql(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        """The `data` of the answer, with the fields that the client's query names."""
        project = {"id": "project", "name": given.get("project"), "entity": {"id": "entity", "name": ENTITY}}
        match operation:
            # -- who and what is there
            case "Viewer":
                flags = json.dumps({"code_saving_enabled": True})  # an account may have it on, and no code must come
                return {"viewer": {"id": "viewer", "entity": ENTITY, "flags": flags, "teams": {"edges": []}}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "OrganizationCoreWeaveOrganizationID":
                return {"entity": None}
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "GetDefaultEntity":
                return {"viewer": {"id": "viewer", "entity": ENTITY}}
            # -- workspaces and reports
            case "ProjectInternalId":
                return {"project": {"internalId": "project"}}
            case "GetProjects":
                node = {
                    "id": "project",
                    "name": "vidfusion",
                    "entityName": ENTITY,
                    "createdAt": "",
                    "isBenchmark": False,
                }
                page = {"hasNextPage": False, "endCursor": None}
                return {"models": {"edges": [{"node": {**node, "user": None}}], "pageInfo": page}}
            case "upsertView" | "UpsertView2":
                self.views.append(given)
                home = {"id": "project", "name": given["projectName"], "entityName": given["entityName"]}
                view = {**given, "id": f"view{len(self.views)}", "project": home, "updatedAt": None}
                return {"upsertView": {"view": view, "inserted": True}}
            # -- runs
            case "RunResumeStatus":
                return {"model": {**project, "bucket": self._bucket(given["name"])}}
            case "UpsertBucket":
                inserted = given["name"] not in self.runs
                run = self.runs.setdefault(given["name"], Run())
                run.fields |= {name: value for name, value in given.items() if value is not None}
                if "config" in run.fields:
                    run.config = {name: item["value"] for name, item in json.loads(run.fields["config"]).items()}
                bucket = {"id": given["name"], "name": given["name"], "project": project}
                bucket["displayName"] = run.fields.get("displayName")
                return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}
            case "CreateRunFiles":
                files = [{"name": name, **self._upload("run", given["run"], name)} for name in given["files"]]
                return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
            # -- artifacts
            case "CreateArtifact":
                run, name = given["input"]["runName"], given["input"]["artifactCollectionName"]
                number = f"artifact{len(self._artifacts)}"
                self._artifacts[number] = run, name
                self.runs[run].artifacts[name] = {}
                artifact = {"id": number, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
                return {"createArtifact": {"artifact": artifact}}
            case "CreateArtifactManifest":
                file = {"id": "file", **self._upload("artifact", given["artifactID"], "manifest")}
                return {"createArtifactManifest": {"artifactManifest": {"id": "manifest", "file": file}}}
            case "CreateArtifactFiles":
                nodes = [
                    {
                        "storagePath": file["name"],
                        **self._upload("artifact", file["artifactID"], file["name"]),
                        "uploadMultipartUrls": None,
                        "artifact": {"id": file["artifactID"]},
                    }
                    for file in given["input"]["artifactFiles"]
                ]
                return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
            case "CommitArtifact":
                return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": ""}}}
        raise LookupError(f"unknown operation {operation}")

    def _bucket(self, name: str) -> dict[str, Any] | None:
        """What a client that resumes a run is told of it."""
        run = self.runs.get(name)
        if run is None:
            return None
        return {
            "id": name,
            "name": name,
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "logLineCount": 0,
            "config": json.dumps({name: {"value": value} for name, value in run.config.items()}),
            "tags": run.fields.get("tags"),
            "wandbConfig": json.dumps({"t": 1}),
        }


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        self.connections: list[socket.socket] = []
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def handle_error(self, *_: Any) -> None:
        pass  # a client that goes away
