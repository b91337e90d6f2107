"""Random search on a model of the table image (docs/design.md, "Uncaptured windows"): how a node whose application changed a table
without capture brings all nodes to one content again. One table t(id PRIMARY KEY, u UNIQUE, v), one stream, 2-3 nodes that begin with equal
rows, a network that loses and delays messages and loses acks, nodes that crash. After each random history the network heals and the
nodes drain; then
  - every node must hold what the stream means (`meaning`), with nothing pending, hidden, parked, or due;
  - a captured write that nobody contended must be there;
  - "sole": where one node alone writes, captured or not, replication must never change its table, and all must end with it;
  - "own": where every row has one writer, its last write must be there, captured or not. If several nodes had windows, a row that was
    written in a window must still be there; its deletion in one may be undone, an update in one may be lost, and it may lose a UNIQUE clash (the stated limits).
The rules of the image, each with the variant that leaves it out (no-hidden, no-untouched: kept although no history was found that needs them):
  1 cas           an image goes out piece by piece, each with the rows of one range of keys, and only if this node has read (and
                  applied: `parked`) all that stands before it on the table's subject.
  2 changes       What else the node has captured and not published goes along: who reads the piece has seen it.
    pending       A node that reads a piece deletes its rows in that range that the piece does not hold, unless they are pending.
  3 hidden        that goes for its hidden rows as well.
  4 shield        a node whose own image is due keeps the rows of the ranges that it has not published yet,
    position      but only those,
    id            until it has read the piece of that very image: one of an older window says nothing about this one.
    own-writes    Its own earlier events write nothing there,
    own-displaces and displace nothing there: what is there is newer.
  5 numbers       a piece that comes late is ignored like every late message.
  6 deletions     the piece deletes (the rows alone, as backfill, are not enough),
    first         and deletes before its rows come: else these clash with rows that are to leave.
  7 untouched     deleting a range may take several transactions; in each it is looked at anew what is pending.
  8 restart       the place that the image has reached is kept with the cursor: after a crash it goes on there or earlier.
`full` has all rules; each other variant must fail. Measured: full 0 of 110,000 histories; of 30,000 each: no-cas 1,745, parked 19,
no-pending 1,501, no-shield 249, no-position 7, no-id 259, no-numbers 516, no-deletions 2,416, no-restart 469, no-changes 2,
own-writes 133, own-displaces 64.
Usage: table_image.py HISTORIES [VARIANT [FIRST_SEED]]     e.g. table_image.py 100000; all variants: table_image.py 20000 every"""
import multiprocessing, random, sys, time
from collections import namedtuple

VARIANTS = "full no-cas parked no-pending no-shield no-position no-id no-numbers no-deletions no-restart no-changes own-writes own-displaces".split()
UNPROVEN = "no-hidden hidden-stay no-untouched no-first".split()  # no history found that needs these rules
V = "full"
def without(variant): return V == variant

Image = namedtuple("Image", "id after upto")      # the range (after, upto]; None: from the first, to the last
Message = namedtuple("Message", "origin run number top batch expect image")      # batch: {key: (u, v) or None}
Entry = namedtuple("Entry", "id key kind")        # kind: change | victim
KEYS = range(6)
class Failed(Exception): pass
def clash(a, b): return a[0] is not None and a[0] == b[0]
def within(image, k): return (image.after is None or k > image.after) and (image.upto is None or k <= image.upto)
def is_new(high, m):
    if not without("no-numbers") and (m.run, m.number) <= high.get(m.origin, (0, 0)): return False
    high[m.origin] = (m.run, m.number); return True
def meaning(rows, stream):                        # the table that the first content and the stream define
    table, high = dict(rows), {}
    for m in stream:
        if not is_new(high, m): continue
        for k in list(table):
            if k in m.batch or m.image and within(m.image, k) and not without("no-deletions"): del table[k]
        for k, row in [(k, row) for k, row in m.batch.items() if row]:
            for o in [o for o, x in table.items() if clash(x, row) and o not in m.batch]: del table[o]
            table[k] = row
    return table
class World:
    def __init__(self, seed):
        rng = random.Random(seed); self.clock, self.time, self.healed = 0, 0, False
        self.stream, self.late, self.trace = [], [], []
        self.mode, names = rng.choice(["any", "any", "sole", "own"]), "ABC"[:rng.choice([2, 3])]
        self.windows = rng.choice(["A", names])   # who may have uncaptured windows
        if self.mode == "sole": self.windows = "A"
        self.rows = {k: (rng.choice([None, None, "xyz"[k % 3]]) if k < 3 else None, 0) for k in KEYS if rng.random() < .6}
        self.hot = rng.random() < .2               # few UNIQUE values: rows clash and are hidden all the time
        if self.mode == "own": self.rows = {k: (None, 0) for k in self.rows}
        self.steps = ["write", "window", "publish", "image", "read"] + rng.choices(STEPS, k=8)
        self.last, self.uses, self.accepted, self.high, self.truth, self.windowed, self.had_window = {}, [], [], {}, dict(self.rows), {}, set()
        self.nodes = [Node(self, name) for name in names]
    def store(self, m):
        if m.expect is not None and m.expect != len(self.stream): return False
        self.stream.append(m); self.accepted.append(is_new(self.high, m)); self.trace.append(f"    stream {len(self.stream)}: {tuple(m)}"); return True
    def wrote(self, node, k, row, captured):
        self.time += 1
        if row and row[0]: self.uses.append((self.time if captured else 1e9, node.name, row[0]))
        old = self.last.get(k)
        since = self.time if self.informed(node) else old[2] if old and old[0] == node.name else None
        self.last[k] = (node.name, row, since)
        if captured: self.truth[k] = row; self.windowed.get(k, set()).discard("last")
        else: self.truth[k] = row; self.windowed.setdefault(k, set()).update({node.name, "last"})
    def informed(self, node):                     # the node has read and applied all that others wrote
        return self.mode != "any" or node.cursor == len(self.stream) and not node.queue and all(
            any(ok and m.origin == n.name and (e.key in m.batch or m.image and within(m.image, e.key)) and m.top >= e.id for m, ok in zip(self.stream, self.accepted))
            for n in self.nodes if n is not node for e in n.log)
    def contended(self, k):
        name, row, since = self.last[k]
        return not since or bool(self.windowed.get(k)) or row and any(u == row[0] and t >= since and o != name for t, o, u in self.uses)
    def check(self):
        want = meaning(self.rows, self.stream)
        for n in self.nodes:
            if n.table != want or n.hidden or n.log or n.queue or n.due:
                raise Failed(f"{n.name} has {n.table} hidden {n.hidden} log {n.log} due {n.due}, the stream means {want}")
        for k, (name, row, _) in self.last.items():
            if self.mode == "any" and not self.contended(k) and want.get(k) != row: raise Failed(f"lost: {name} wrote {k} = {row}, uncontended, and all have {want.get(k)}")
        for k in KEYS if self.mode != "any" else []:
            name = self.last[k][0] if k in self.last else None
            row, in_window = self.truth.get(k), "last" in self.windowed.get(k, ())
            if in_window and len(self.had_window) > 1:
                if row and k not in want and not any(o == name for _, o, _ in self.uses): raise Failed(f"row {k} was written in a window and is gone")
            elif want.get(k) != row: raise Failed(f"{k} was last written as {row}{' in a window' * in_window}, and all have {want.get(k)}")
class Node:
    def __init__(self, world, name):
        self.world, self.name, self.table, self.hidden, self.log, self.next_id = world, name, dict(world.rows), {}, [], 1
        self.cursor, self.high, self.due, self.images, self.queue, self.parked = 0, {}, None, 0, [], False     # due: [image id, published to]
        self.partial = None; self.start()
    def start(self):
        self.world.clock += 1; self.run, self.number, self.sent, self.partial = self.world.clock, 0, [], None
        if self.due and without("no-restart"): self.due = None
        self.recover()
    def recover(self): self.recovering, self.read_to, self.maybe_sent = True, len(self.world.stream), self.next_id - 1
    def capture(self, k, kind="change"): self.log.append(Entry(self.next_id, k, kind)); self.next_id += 1
    def mine(self): return KEYS if self.world.mode != "own" else [k for k in KEYS if k % len(self.world.nodes) == "ABC".index(self.name)]
    def write(self, rng, captured=True):
        w, mine = self.world, self.mine()
        op = rng.choice(["insert", "insert", "replace", "update", "update", "delete", "delete", "swap"])
        k, row = rng.choice(mine), (rng.choice([None, None, "x", "y", "z"]), rng.choice([0, rng.randrange(100)]))
        if w.hot: row = (rng.choice("xy"), row[1])
        if self.partial and rng.random() < .6: k = rng.choice([*set(mine) & set(self.partial[1])] or mine)
        if w.mode == "own" and row[0]: row = (row[0] + self.name, row[1])
        there, hit = k in self.table, [o for o, x in self.table.items() if o != k and clash(x, row)]
        if there and op == "insert" or hit and op in ("insert", "update") or not there and op in ("update", "delete", "swap"): return
        def note(key, kind="change"):
            if captured: self.capture(key, kind)
        if op == "swap":
            other = rng.choice([o for o in self.table if o in mine and o != k] or [k])
            if other == k: return
            (a, v), (b, x) = self.table[k], self.table[other]; self.table[k] = (b, v); self.table[other] = (a, x)
            for o in (k, other): note(o); w.wrote(self, o, self.table[o], captured)
        elif op == "delete": del self.table[k]; note(k); w.wrote(self, k, None, captured)
        else:
            for o in hit: del self.table[o]; w.wrote(self, o, None, captured); note(o, "victim")
            self.table[k] = row; note(k); w.wrote(self, k, row, captured)
        return f"{op} {k} {row}"
    def window(self, rng):                        # writes without triggers; the node notices before it does anything else, and its image is due
        said = [s for s in (self.write(rng, captured=False) for _ in range(rng.randrange(1, 4))) if s]
        self.world.had_window.add(self.name); self.images += 1; self.due = [self.images, None]
        return f"without capture: {', '.join(said)}; image {self.images} is due"
    def counts(self, e): return e.kind != "victim" or e.key not in self.table
    def drop_false_victims(self): self.log = [e for e in self.log if self.counts(e)]
    def pending(self): return {e.key for e in self.log if self.counts(e)}
    def ready(self):
        if self.recovering:
            if self.cursor < self.read_to: return False
            self.sent, self.recovering = [], False
        self.drop_false_victims(); return True
    def publish(self, rng):
        if not self.ready() or any(s[0].image for s in self.sent): return
        done = max([s[0].top for s in self.sent if not s[0].image], default=0)
        todo = [e for e in self.log if e.id > done]
        cas = [e.id <= self.maybe_sent for e in todo]
        if len(set(cas)) > 1: todo = todo[:cas.index(not cas[0])]
        if not todo: return
        self.number += 1; batch = {e.key: self.table.get(e.key) for e in todo}
        return self.send(Message(self.name, self.run, self.number, todo[-1].id, batch, self.cursor if cas[0] else None, None), rng)
    def image(self, rng):                         # rule 1: the next piece, once all that is there was read and applied
        if not self.due or not self.ready() or any(s[0].image for s in self.sent): return
        if self.queue and not without("parked"): return
        keys = [k for k in sorted(self.table) if self.due[1] is None or k > self.due[1]]
        n = rng.randrange(1, 4); held, upto = keys[:n], keys[n - 1] if len(keys) > n else None
        todo = [] if without("no-changes") else [e.key for e in self.log]
        self.number += 1; m = Message(self.name, self.run, self.number, self.next_id - 1, {k: self.table.get(k) for k in [*held, *todo]},
                                      None if without("no-cas") else self.cursor, Image(self.due[0], self.due[1], upto))
        return self.send(m, rng)
    def send(self, m, rng):                       # stored + acked | stored, ack lost | late, maybe after newer ones | lost
        outcome = "acked" if self.world.healed else rng.choices(["acked", "ack lost", "late", "lost"], [55, 15, 15, 15])[0]
        if outcome == "late": self.world.late.append(m)
        if outcome in ("acked", "ack lost") and not self.world.store(m): outcome = "refused"
        self.sent.append([m, outcome]); return f"publish {m.number} ({outcome}) top {m.top} {m.batch} {m.image or ''}"
    def learn(self):
        if not self.recovering and any(s[1] != "acked" for s in self.sent): self.recover(); return "learns of a failure"
    def read(self, rng):
        if self.cursor >= len(self.world.stream): return
        m = self.world.stream[self.cursor]
        if not self.partial or self.partial[0] != self.cursor:
            if not without("no-numbers") and (m.run, m.number) <= self.high.get(m.origin, (0, 0)): self.cursor += 1; return f"ignores {self.cursor}"
        if m.image and not self.queue and not self.parked and rng.random() < .6:                # rule 7: part of the deletions
            self.drop_false_victims(); gone = self.extras(m)
            if gone:
                before = dict(self.table)
                if self.partial is None or self.partial[0] != self.cursor: self.partial = (self.cursor, gone)
                for k in gone[:1]: self.table.pop(k, None); self.hidden.pop(k, None)
                self.unhide(); self.unchanged(before); return f"begins with {self.cursor + 1}, deletes {gone[0]}"
        self.cursor += 1; is_new(self.high, m)
        if self.parked or self.queue: self.queue.append(m); return f"parks {self.cursor}"
        self.apply_message(m); self.partial = None; return f"reads {self.cursor}"
    def unpark(self):
        if not self.queue: self.parked = False; return
        self.parked = False
        for m in self.queue: self.apply_message(m)
        self.queue = []; return "unparks"
    def extras(self, m):                          # rules 2-4: what the piece deletes here
        if not m.image or without("no-deletions"): return []
        if self.partial and without("no-untouched"): return [k for k in self.partial[1] if k in self.table and k not in m.batch]
        keep = set() if without("no-pending") else self.pending()
        there = set(self.table) | (set() if without("no-hidden") else set(self.hidden))
        return sorted(k for k in there if within(m.image, k) and k not in m.batch and k not in keep and not self.shielded(k))
    def shielded(self, k):
        if not self.due or without("no-shield"): return False
        return self.due[1] is None or k > self.due[1] or without("no-position")
    def apply_message(self, m):
        self.drop_false_victims()
        before, own, settled = dict(self.table), m.origin == self.name, set()
        if own and m.run == self.run: self.sent = [s for s in self.sent if s[0].number != m.number]
        if own and m.run == self.run: settled = self.settle(m.batch, m.top)
        elif own:
            for k, row in m.batch.items():
                if all(e.id <= m.top for e in self.log if e.key == k) and self.table.get(k) == row: settled |= self.settle([k], self.next_id)
        if own and m.image and not without("hidden-stay"): self.hidden = {k: x for k, x in self.hidden.items() if not within(m.image, k)}
        gone = {k: None for k in self.extras(m)}
        if own and not without("own-writes"): settled = settled | {k for k in m.batch if self.shielded(k)}
        spared = {k for k in self.table if self.shielded(k)} if own and not without("own-displaces") else set()
        self.apply({**m.batch} if without("no-first") else {**gone, **m.batch}, settled, spared)
        if without("no-first"): self.apply(gone, set())
        if own and m.image and self.due and (m.image.id == self.due[0] or without("no-id")): self.reach(m.image)
        self.unchanged(before)
    def reach(self, image):
        if image.upto is None: self.due = None
        else: self.due[1] = image.upto if self.due[1] is None else max(image.upto, self.due[1])
    def settle(self, keys, top):
        done = [e for e in self.log if e.key in keys and e.id <= top]
        self.log = [e for e in self.log if e not in done]; return {e.key for e in done}
    def apply(self, batch, settled, spared=()):
        table, hidden, keep = self.table, self.hidden, self.pending() | settled
        if without("no-pending"): keep = keep - {k for k, row in batch.items() if row is None}
        for k in batch:
            hidden.pop(k, None)
            if k not in keep: table.pop(k, None)
        for k, row in batch.items():
            if row is None: continue
            for h in [h for h, x in hidden.items() if clash(x, row) and h not in batch]: del hidden[h]
            for o in [o for o, x in table.items() if clash(x, row) and o not in keep and o not in batch and not (o in spared and k in keep)]: del table[o]
            if k in keep: continue
            if not any(o != k and clash(x, row) for o, x in table.items()): table[k] = row
            else: hidden[k] = row; table.pop(k, None)
        self.unhide()
    def unhide(self):
        keep = self.pending()
        for h, x in list(self.hidden.items()):
            if h in keep: del self.hidden[h]
            elif not any(clash(y, x) for y in self.table.values()): self.table[h] = x; del self.hidden[h]
    def unchanged(self, before):
        if self.world.mode == "sole" and self.name == "A" and before != self.table: raise Failed(f"replication changed the only writer's table from {before} to {self.table}")
STEPS = ["write", "write", "publish", "image", "image", "read", "read all", "learn", "late", "start", "park", "unpark", "window"]
def read_all(n, rng):
    while n.cursor < len(n.world.stream): n.read(rng)
def step(w, rng):
    n, what, said = rng.choice(w.nodes), rng.choice(w.steps), None
    if what == "write" and (w.mode != "sole" or n.name == "A"): said = n.write(rng) or n.write(rng) or n.write(rng)
    elif what == "window" and n.name in w.windows and rng.random() < .4: said = n.window(rng)
    elif what in ("publish", "image", "read"): said = getattr(n, what)(rng)
    elif what == "read all": said = what; read_all(n, rng)
    elif what in ("learn", "unpark"): said = getattr(n, what)()
    elif what == "park" and rng.random() < .3: n.parked = True; said = "is parked"
    elif what == "late" and w.late: m = w.late.pop(rng.randrange(len(w.late))); said = f"... {m.origin}'s late message {m.number} arrives"; w.store(m)
    elif what == "start" and rng.random() < .4: said = "starts again"; n.start()
    if said: w.trace.append(f"{n.name} {said}   | {n.table} log {[tuple(e) for e in n.log]} due {n.due}" + (f" hidden {n.hidden}" if n.hidden else ""))
def history(seed, steps):
    w, why, rng = World(seed), None, random.Random(seed)
    try:
        for i in steps: step(w, random.Random(seed * 1000 + i))
        w.healed = True; w.trace.append("the network heals")
        for _ in range(200):
            for n in w.nodes:
                n.unpark(); n.read(rng) if rng.random() < .5 else read_all(n, rng)
                n.learn(); n.publish(rng); n.image(rng)
            if w.late and rng.random() < .5: w.store(w.late.pop(rng.randrange(len(w.late))))
            if not w.late and not any(n.sent or n.recovering or n.due or n.queue or n.cursor < len(w.stream) for n in w.nodes): break
        for n in w.nodes: n.drop_false_victims(); n.unhide()
        w.check()
    except Failed as e: why = str(e)
    return w, why
def all_steps(seed): return list(range(random.Random(seed).randrange(4, 60)))
def work(args):
    global V
    V, seeds = args; return [seed for seed in seeds if history(seed, all_steps(seed))[1]]
def search(count, variant, first):
    global V
    V, began = variant, time.time()
    with multiprocessing.Pool() as pool: parts = pool.map(work, [(V, range(s, min(s + 500, first + count))) for s in range(first, first + count, 500)], 1)
    bad = [s for p in parts for s in p]
    print(f"{V}: {len(bad)} of {count} histories fail, first {bad[0] - first + 1 if bad else '-'}; {time.time() - began:.0f} s", flush=True); return bad
def main():
    count, variant, first = int(sys.argv[1]), (sys.argv[2:] or ["full"])[0], int((sys.argv[3:] or [0])[0])
    if variant == "every":
        for v in VARIANTS + UNPROVEN: search(count, v, first)
        return
    if variant not in VARIANTS + UNPROVEN: sys.exit(f"variants: {VARIANTS}; not seen to fail: {UNPROVEN}")
    bad = search(count, variant, first)
    if bad:                                       # the first failing history, without the steps that it fails without
        steps = all_steps(bad[0])
        for i in all_steps(bad[0]) * 2:
            if history(bad[0], [s for s in steps if s != i])[1]: steps = [s for s in steps if s != i]
        w, why = history(bad[0], steps); print(f"seed {bad[0]}:", w.mode, w.rows, why, *w.trace, sep="\n  ")
if __name__ == "__main__": main()
