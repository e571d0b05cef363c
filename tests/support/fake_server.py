"""Enough of a W&B server, on loopback, for an online run: what arrives is kept."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """`with Server() as server:`.

    `runs` are the variables of the requests that made or changed the run, `files` the names
    uploaded.
    """

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.files: set[str] = set()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def settled(self, key: str) -> Any:
        """The last value of a variable of the run."""
        return next((run[key] for run in reversed(self.runs) if run.get(key)), None)

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket" in query:
            self.runs.append(given)
            project = {
                "id": "p",
                "name": given.get("project"),
                "entity": {"id": "e", "name": "tester"},
            }
            bucket = {
                "id": "r",
                "name": given.get("name"),
                "displayName": given.get("displayName"),
                "description": None,
                "config": given.get("config") or "{}",
                "sweepName": None,
                "historyLineCount": 0,
                "project": project,
            }
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            files = [
                {"name": name, "uploadUrl": f"{self.url}/storage/{name}"}
                for name in given.get("files", [])
            ]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            viewer = {
                "id": "u",
                "entity": "tester",
                "username": "tester",
                "flags": "{}",
                "teams": {"edges": []},
            }
            return {
                "viewer": viewer,
                "serverInfo": {"cliVersionInfo": {}, "latestLocalVersionInfo": None},
            }
        return {
            "QueryType": {"fields": []},
            "__schema": {"types": []},
            "__type": {"fields": [], "inputFields": []},
        }

    def stream(self, files: dict[str, Any]) -> None:
        if rows := files.get("wandb-history.jsonl"):
            self.history += [json.loads(row) for row in rows["content"]]
        if rows := files.get("wandb-summary.json"):
            self.summary = json.loads(rows["content"][-1])


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def reply(self, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> bytes:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return (
                gzip.decompress(content)
                if self.headers.get("Content-Encoding") == "gzip"
                else content
            )

        def do_GET(self) -> None:
            self.reply({})

        def do_PUT(self) -> None:
            self.body()
            server.files.add(self.path.removeprefix("/storage/"))
            self.reply({})

        def do_POST(self) -> None:
            content = json.loads(self.body() or b"{}")
            if self.path.endswith("/graphql"):
                self.reply(
                    {"data": server.answer(content["query"], content.get("variables") or {})}
                )
            else:
                server.stream(content.get("files") or {})
                self.reply({"limits": {}})

    return Handler
