"""Runs a command in a pseudo-terminal and keeps what its screen shows.

Takes one JSON array a line on stdin, answers each with one JSON value a line:
["press", text] · ["resize", rows, columns] · ["expect", text] (the screen, once it is whole and holds the text)
["copied", text] (the clipboard, once it holds the text) · ["end"] (exit code, and how the terminal was left)
"""

import base64, fcntl, json, os, pty, re, select, struct, sys, termios, time

PATIENCE = 60  # seconds: the machine may be busy
# Control sequences, operating system commands, and single characters that are no text.
SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b\]52;c;([^\x07]*)\x07|\x1b[()=>78].?|[\r\n\x07\x08]")


class Screen:
    def __init__(self):
        self.cells, self.row, self.column = {}, 0, 0
        self.alternate, self.cursor, self.coloured, self.copied = False, True, False, ""
        self.whole = True  # nothing is being drawn

    def text(self, text):
        for character in text:
            self.cells[self.row, self.column] = character
            self.column += 1

    def feed(self, text):
        """Takes text in; gives back what may be the start of a sequence."""
        at = 0
        for found in SEQUENCE.finditer(text):
            self.text(text[at : found.start()])
            at = found.end()
            numbers, letter, copied = found.groups()
            if copied is not None:
                self.copied = base64.b64decode(copied).decode()
            elif letter == "H":
                row, _, column = numbers.partition(";")
                self.row, self.column = int(row or 1) - 1, int(column or 1) - 1
            elif letter in ("K", "J"):
                whole, below = numbers == "2", letter == "J" and numbers in ("", "0")
                def goes(cell):
                    same = cell[0] == self.row and (whole or cell[1] >= self.column)
                    return same if letter == "K" else whole or same or (below and cell[0] > self.row)
                self.cells = {cell: character for cell, character in self.cells.items() if not goes(cell)}
            elif letter in ("h", "l") and numbers == "?1049":
                self.alternate = letter == "h"
            elif letter in ("h", "l") and numbers == "?25":
                self.cursor = letter == "h"
            elif letter in ("h", "l") and numbers == "?2026":
                self.whole = letter == "l"
            elif letter == "m":
                self.coloured = True
            elif found.group() == "\r":
                self.column = 0
            elif found.group() == "\n":
                self.row += 1
        rest = text[at:]
        escape = rest.rfind("\x1b")
        if escape < 0:
            self.text(rest)
            return ""
        self.text(rest[:escape])
        return rest[escape:]

    def lines(self, rows):
        def line(row):
            width = max((column for at, column in self.cells if at == row), default=-1) + 1
            return "".join(self.cells.get((row, column), " ") for column in range(width)).rstrip()
        return [line(row) for row in range(rows)]


def set_size(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


rows = 24
pid, fd = pty.fork()
if pid == 0:
    set_size(0, rows, 110)
    os.execv(sys.argv[1], sys.argv[1:])
before = termios.tcgetattr(fd)
screen, pending, open_ = Screen(), b"", True
left = ""


def read(until):
    """Reads what there is, or waits for it until then."""
    global pending, open_, left
    if not select.select([fd], [], [], max(0, until - time.monotonic()))[0]:
        return
    try:
        pending += os.read(fd, 65536)
    except OSError:
        open_ = False
        return
    try:
        text, pending = pending.decode(), b""
    except UnicodeDecodeError as error:
        text, pending = pending[: error.start].decode(), pending[error.start :]
    left = screen.feed(left + text)


def wait_for(found):
    end = time.monotonic() + PATIENCE
    while not found() and open_ and time.monotonic() < end:
        read(end)
    return found()


def answer(value):
    print(json.dumps(value), flush=True)


for line in sys.stdin:
    command, *given = json.loads(line)
    if command == "press":
        os.write(fd, given[0].encode())
        answer(True)
    elif command == "resize":
        rows = given[0]
        set_size(fd, *given)
        answer(True)
    elif command == "expect":
        found = wait_for(lambda: screen.whole and any(given[0] in line for line in screen.lines(rows)))
        answer({"found": found, "lines": screen.lines(rows)})
    elif command == "copied":
        found = wait_for(lambda: given[0] in screen.copied)
        answer({"found": found, "lines": [screen.copied]})
    elif command == "end":
        wait_for(lambda: False)
        after = termios.tcgetattr(fd)
        status = os.waitpid(pid, 0)[1]
        answer({
            "code": os.waitstatus_to_exitcode(status), "alternate": screen.alternate, "cursor": screen.cursor,
            "coloured": screen.coloured, "restored": after[3] == before[3],
        })
