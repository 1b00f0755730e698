"""Asks a Trunkline daemon on this machine, with the standard library alone.

    trunkline = Trunkline("/run/trunkline/api.sock", os.environ.get("TRUNKLINE_TOKEN"))
    answer = trunkline.ask("tokens", tenant=..., **{"from": "+971501234567"},
                           grants={"room": "call-7", "identity": "dialler"})

One connection is kept and used again, so each thread takes a Trunkline of its own. What is asked
changes nothing, so it is asked once more where the connection broke or the daemon says "later".
"""
import http.client, json, socket, time


class Refused(Exception):
    """The daemon said no: `status`, and `problem` with its code, detail, hint and field."""

    def __init__(self, status, problem):
        self.status, self.problem = status, problem
        super().__init__(f"{problem['code']}: {problem['detail']}")


class Trunkline(http.client.HTTPConnection):
    def __init__(self, path, token=None, timeout=5):
        super().__init__("localhost", timeout=timeout)
        self.path, self.token, self.connection = path, token, self

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, route, **body):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        for attempt in (1, 2):
            try:
                self.request("POST", f"/v1/{route}", json.dumps(body), headers)
                answer = self.getresponse()
                read = json.loads(answer.read())
            except (OSError, http.client.HTTPException):
                self.close()  # The next request connects anew.
                if attempt == 2:
                    raise
                continue
            if answer.status == 503 and attempt == 1:
                time.sleep(int(answer.headers.get("Retry-After", 1)))
                continue
            if answer.status != 200:
                raise Refused(answer.status, read)
            return read
