"""`ask.py URL N`: N requests one after the other, each on a new connection; prints one answer a line."""

import sys
import urllib.request

for _ in range(int(sys.argv[2])):
    with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:
        print(answer.read().decode().strip().replace("\n", " "))
