"""Asks a Trunkline daemon on this machine, with the standard library alone.

    trunkline = Trunkline("/run/trunkline/api.sock", os.environ.get("TRUNKLINE_TOKEN"))
    answer = trunkline.ask("tokens", tenant=..., **{"from": "+971501234567"},
                           grants={"room": "call-7", "identity": "dialler"})

One connection is kept and used again, so each thread takes a Trunkline of its own. Routes that only
answer may be asked again, so that is done once where the connection broke or the daemon says "later".
Do not ask one that changes something with this.
"""

import http.client, json, socket, time


class Refused(Exception):
    """The daemon said no: `status`, and `problem` with its code, detail, hint and field."""

    def __init__(self, status, problem):
        super().__init__(f"{problem['code']}: {problem['detail']}")
        self.status, self.problem = status, problem


class Trunkline(http.client.HTTPConnection):
    def __init__(self, path, token=None, timeout=5):
        super().__init__("localhost", timeout=timeout)
        self.path, self.token = path, token

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, route, **body):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        for last in (False, True):
            try:
                self.request("POST", f"/v1/{route}", json.dumps(body), headers)
                answer = self.getresponse()
                read = json.loads(answer.read())
            except (OSError, http.client.HTTPException):
                self.close()  # The next request connects anew.
                if last:
                    raise
                continue
            if answer.status in (200, 201):
                return read
            if last or answer.status not in (429, 503):
                raise Refused(answer.status, read)
            time.sleep(int(answer.headers.get("Retry-After", 1)))
