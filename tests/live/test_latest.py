import threading

from rtdeblur.live.latest import Latest


def test_a_newer_item_replaces_one_not_taken() -> None:
    slot: Latest[int] = Latest()
    for item in range(5):
        slot.put(item)
    assert slot.take() == 4
    assert slot.dropped == 4
    assert slot.take(timeout=0) is None


def test_the_last_item_can_be_taken_after_the_end() -> None:
    slot: Latest[int] = Latest()
    slot.put(7)
    slot.close()
    assert not slot.closed
    assert slot.take() == 7
    assert slot.closed
    assert slot.take() is None
    assert slot.dropped == 0


def test_a_waiting_thread_is_woken() -> None:
    slot: Latest[int] = Latest()
    taken: list[int | None] = []
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    slot.put(1)
    thread.join(10)
    assert taken == [1]
    thread = threading.Thread(target=lambda: taken.append(slot.take()))
    thread.start()
    slot.close()
    thread.join(10)
    assert taken == [1, None]
