"""Prints the lines of a day that are as they were committed: read.py <DAY.jsonl"""
import json, sys

table = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    table.append(n)

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return "%08x" % (crc ^ 0xFFFFFFFF)

lines = b""
for line in sys.stdin.buffer:
    if not line.startswith(b'{"type":"commit",'):
        lines += line
        continue
    commit, at = json.loads(line), line.index(b'"crc32c":"') + 10
    if crc32c(lines + line[:at] + b"00000000" + line[at + 8:]) == commit["crc32c"]:
        sys.stdout.buffer.write(lines)
    else:
        print("bad group at byte", commit["at"], file=sys.stderr)
    lines = b""
