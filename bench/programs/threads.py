# python3 with four threads, each with objects of its own: records made, written as JSON, read back, some kept.
import json
import random
import sys
import threading
import zlib


def work(seed, records, out):
    r, kept, total = random.Random(seed), {}, 0
    for i in range(records):
        record = {"id": i, "tags": ["t%d" % r.randrange(1000) for _ in range(20)], "text": "x" * r.randrange(3000),
                  "parts": {str(k): [r.randrange(10**9) for _ in range(5)] for k in range(8)}}
        text = json.dumps(record)
        kept[r.randrange(400)] = back = json.loads(text)
        assert back == record
        total += len(zlib.compress(text.encode()))
    out[seed] = total


out = [0] * 4
threads = [threading.Thread(target=work, args=(k, int(sys.argv[1]), out)) for k in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(out)
