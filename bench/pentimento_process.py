"""pentimento's side: one long-running process that answers requests (crates/pentimento-bench/examples/side_by_side)."""

import json
import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


class RequestFailed(Exception):
    """pentimento's side answered with an error, or ended."""


def build() -> Path:
    """Builds the example and returns its path."""
    command = ["cargo", "build", "--release", "--workspace", "--example", "side_by_side"]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return target / "release" / "examples" / "side_by_side"


class Pentimento:
    """The process; requests are keyword arguments, answers dictionaries."""

    def __init__(self, program: Path, threads: int):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, request: str, **fields) -> dict:
        """Sends one request and waits for its answer."""
        line = json.dumps({"request": request, **fields}, default=str)
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RequestFailed(f"{line}: pentimento's side ended with code {self.process.wait()}")
        answer = json.loads(answer)
        if "error" in answer:
            raise RequestFailed(f"{line}: {answer['error']}")
        return answer

    def seconds(self, request: str, **fields) -> float:
        """The seconds that a piece of work took."""
        return self.ask(request, **fields)["seconds"]

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
