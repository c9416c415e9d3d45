"""Behaves as coding agents do: a shell at a terminal of its own, edits, tests, Git, helpers at once, a server
in the background. Says what came of it in one line of JSON. The first argument marks what it leaves behind."""
import concurrent.futures, json, os, pty, re, subprocess, sys, time, urllib.request

mark = sys.argv[1]
said = {}


class Shell:
    """A shell at a terminal; what a command prints, and its status."""

    def __init__(self):
        self.count = 0
        pid, self.fd = pty.fork()
        if pid == 0:
            os.execvp("bash", ["bash", "--noediting", "--norc", "--noprofile", "-i"])
        self.run("stty -echo; PS1= PS2=;")

    def run(self, line):
        self.count += 1
        end = f"end-{self.count}-"
        os.write(self.fd, f"{line}\necho e''nd-{self.count}-$?-\n".encode())
        text, until = "", time.monotonic() + 60
        while not (found := re.search(end + r"(\d+)-", text)):
            if time.monotonic() > until:
                raise TimeoutError(f"{line}: {text}")
            text += os.read(self.fd, 65536).decode(errors="replace")
        lines = text[: found.start()].replace("\r", "").strip().split("\n")
        return lines[-1], int(found.group(1))


shell = Shell()
said["tty"] = shell.run("test -t 0 && tty | cut -c1-9")[0]
said["files"] = shell.run("ls | sort | paste -sd,")[0]

# It reads, tests, edits and tests again.
test = [sys.executable, "-m", "unittest", "-q", "test_calc"]
said["before"] = subprocess.run(test, stderr=subprocess.DEVNULL).returncode
with open("calc.py") as file:
    source = file.read()
with open("calc.py.new", "w") as file:
    file.write(source.replace("a - b", "a + b"))
os.rename("calc.py.new", "calc.py")
said["after"] = subprocess.run(test, stderr=subprocess.DEVNULL).returncode

said["commit"] = shell.run("git add -A && git commit -q -m 'Add means add'")[1]
said["log"] = shell.run("git log --format=%s | paste -sd,")[0]

# What it may not do it is refused, and it goes on.
said["push"] = shell.run("git push origin main")[1]
said["ssh"] = shell.run("ssh host.invalid true")[1]
said["secret"] = shell.run("cat ../secret 2>/dev/null")[1]
said["still"] = shell.run("echo still here")[0]

# Helpers at once.
with concurrent.futures.ThreadPoolExecutor(6) as pool:
    grep = lambda word: subprocess.run(["grep", "-rlw", word, "."], capture_output=True).returncode
    said["helpers"] = list(pool.map(grep, ["def", "add", "class", "import", "a", "zebra"]))

# A program of the workspace, compiled and started.
with open("main.c", "w") as file:
    file.write('#include <stdio.h>\nint main(void) { puts("compiled"); return 0; }\n')
said["built"] = shell.run("gcc -o app main.c && ./app")[0]

# A server in the background, in a session of its own, and a job that is stopped.
server = "import http.server, sys; s = http.server.HTTPServer(('127.0.0.1', 0), " \
    "http.server.SimpleHTTPRequestHandler); print(s.server_port, flush=True); s.serve_forever()"
server = subprocess.Popen([sys.executable, "-c", server, mark], start_new_session=True,
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
port = int(server.stdout.readline())
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
said["served"] = direct.open(f"http://127.0.0.1:{port}/README.md", timeout=20).read().decode().strip()
shell.run(f"sleep {mark} & kill -STOP $!")
said["jobs"] = shell.run("until jobs -s | grep -q sleep; do sleep 0.05; done")[1]
print(json.dumps(said, sort_keys=True), flush=True)
