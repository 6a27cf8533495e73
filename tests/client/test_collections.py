"""Queues and dicts, from the client's library and its commands."""

import json
import os
import subprocess
import sys

from conftest import CLIENT


def python(grid, code: str, timeout: float = 60) -> str:
    """What `code` prints, in a process of its own that is signed in."""
    return finish(grid, start(grid, code), timeout)


def start(grid, code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "import modal, queue\n" + code], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env={**os.environ, **grid.environment})


def finish(grid, process: subprocess.Popen, timeout: float = 60) -> str:
    output, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, output + grid.tail()
    return output


def test_a_queue_is_first_in_first_out_by_partition(grid):
    python(grid, """
with modal.Queue.ephemeral() as q:
    q.put("some value")
    q.put_many([1, 2, 3])
    q.put(4, partition="foo", partition_ttl=100)
    assert q.len() == 4 and q.len(partition="foo") == 1 and q.len(total=True) == 5
    assert list(q.iterate()) == ["some value", 1, 2, 3]
    assert q.get() == "some value"
    assert q.get_many(2) == [1, 2]
    assert q.get_many(9) == [3]
    assert q.get(block=False) is None
    assert q.get_many(3, block=False) == []
    try:
        q.get(timeout=0.3)
        raise AssertionError("something came out of an empty queue")
    except queue.Empty:
        pass
    assert q.get(partition="foo") == 4
    q.put_many([1, 2], partition="a"); q.put(3, partition="b"); q.put(4)
    q.clear(partition="a")
    assert q.len(total=True) == 2
    q.clear(all=True)
    assert q.len(total=True) == 0
""")


def test_a_get_waits_for_a_put_of_another_process(grid):
    python(grid, "modal.Queue.from_name('meeting', create_if_missing=True).len()")
    waiting = start(grid, "print('got', modal.Queue.from_name('meeting').get(timeout=60))")
    iterating = start(grid, """
for item in modal.Queue.from_name('meeting').iterate(partition='seen', item_poll_timeout=30):
    print('saw', item)
    break
""")
    python(grid, """
q = modal.Queue.from_name('meeting')
q.put('seen', partition='seen')
q.put('hello')
""")
    assert "got hello" in finish(grid, waiting)
    assert "saw seen" in finish(grid, iterating)


def test_a_full_partition_raises_full_and_a_large_item_says_so(grid):
    output = python(grid, """
with modal.Queue.ephemeral() as q:
    q.put_many(list(range(5000)))
    for how in ({"block": False}, {"block": True, "timeout": 1.0}):
        try:
            q.put(1, **how)
            raise AssertionError("5,001 items")
        except queue.Full:
            print("full")
    q.put(1, partition="other")
    try:
        q.put(b"x" * (1 << 20))
        raise AssertionError("more than 1 MiB")
    except Exception as error:
        print(type(error).__name__, error)
""")
    assert output.count("full") == 2
    assert "RequestSizeError" in output


def test_nothing_that_was_put_is_lost_when_the_grid_is_killed(grid):
    python(grid, """
modal.Queue.from_name('durable', create_if_missing=True).put_many([f'item {n}' for n in range(300)])
modal.Queue.from_name('durable').get_many(100)
modal.Dict.from_name('durable', create_if_missing=True).update({str(n): n for n in range(100)})
""")
    grid.kill()
    grid.start()
    python(grid, """
q = modal.Queue.from_name('durable')
assert q.len() == 200, q.len()
assert q.get_many(200) == [f'item {n}' for n in range(100, 300)]
d = modal.Dict.from_name('durable')
assert sorted(d.values()) == list(range(100))
""")


def test_a_dict_is_a_dict(grid):
    python(grid, """
with modal.Dict.ephemeral() as d:
    assert d.put("a", 1) is True
    assert d.put("a", 2, skip_if_exists=True) is False
    assert d["a"] == 1
    d["a"] = 3
    d.update({"b": [1, 2], 7: None})
    assert d.len() == 3 and "b" in d and not d.contains("c")
    assert d.get("c", "default") == "default"
    assert dict(d.items()) == {"a": 3, "b": [1, 2], 7: None}
    assert list(d.keys()) == ["a", "b", 7] and list(d.values()) == [3, [1, 2], None]
    assert d.pop("a") == 3
    for lookup in (lambda: d["a"], lambda: d.pop("a")):
        try:
            lookup()
            raise AssertionError("there is no a")
        except KeyError:
            pass
    d.clear()
    assert d.len() == 0
""")


def test_a_name_is_found_only_where_it_was_made(grid):
    output = python(grid, """
modal.Queue.from_name('only-here', create_if_missing=True).len()
for thing in (modal.Queue.from_name('only-heer'), modal.Dict.from_name('only-here')):
    try:
        thing.len()
        raise AssertionError('found')
    except modal.exception.NotFoundError as error:
        print(error)
""")
    assert "did you mean 'only-here'" in output and "Dict 'only-here' not found" in output


def test_the_queue_commands(grid):
    grid.modal("queue", "create", "by-hand")
    python(grid, "modal.Queue.from_name('by-hand').put_many(['first', 'second']);"
                 "modal.Queue.from_name('by-hand').put('third', partition='p')")
    rows = [list(row.values()) for row in json.loads(grid.modal("queue", "list", "--json"))]  # keys differ by version
    row = next(row for row in rows if row[0] == "by-hand")
    partitions = 3 if CLIENT >= (1, 1) else 2  # 1.0 has no column for who made it
    assert [int(field) for field in row[partitions:partitions + 2]] == [2, 3]
    assert "first" in grid.modal("queue", "peek", "by-hand")
    assert "2" in grid.modal("queue", "len", "by-hand")
    assert "3" in grid.modal("queue", "len", "by-hand", "--total")
    grid.modal("queue", "clear", "by-hand", "--all", "--yes")
    assert "0" in grid.modal("queue", "len", "by-hand", "--total")
    grid.modal("queue", "delete", "by-hand", "--yes")
    assert "by-hand" not in grid.modal("queue", "list")


def test_the_dict_commands(grid):
    grid.modal("dict", "create", "by-hand")
    python(grid, "modal.Dict.from_name('by-hand').update({'key': 'the value'})")
    assert "by-hand" in grid.modal("dict", "list")
    assert "the value" in grid.modal("dict", "get", "by-hand", "key")
    assert "the value" in grid.modal("dict", "items", "by-hand")
    grid.modal("dict", "clear", "by-hand", "--yes")
    assert "the value" not in grid.modal("dict", "items", "by-hand")
    grid.modal("dict", "delete", "by-hand", "--yes")
    assert "by-hand" not in grid.modal("dict", "list")
