"""What windows are told."""

import threading

from samcore.interactive.news import News


def test_news_are_those_that_changed_since() -> None:
    """Whoever names a version gets the topics that changed after it, each once and the newest."""
    news = News()
    news.tell("a", 1)
    news.tell("b", 1)
    version, _ = news.since(0)
    news.tell("a", 2)
    news.tell("a", 3)

    newer, topics = news.since(version)

    assert topics == {"a": 3}
    assert news.since(newer) == (newer, {})
    assert news.since(0)[1] == {"a": 3, "b": 1}


def test_the_same_again_is_no_news() -> None:
    """A value that is told twice wakes nobody."""
    news = News()
    news.tell("a", {"done": 1})
    version, _ = news.since(0)

    news.tell("a", {"done": 1})

    assert news.since(version) == (version, {})


def test_a_waiting_window_is_answered_at_once() -> None:
    """Who waits gets the next change as soon as it is told, and nothing once news are closed."""
    news = News()
    heard: list[dict[str, object]] = []

    def wait() -> None:
        version, topics = news.since(0, wait_s=60.0)
        heard.append(topics)
        heard.append(news.since(version, wait_s=60.0)[1])

    thread = threading.Thread(target=wait)
    thread.start()
    news.tell("a", 1)
    while not heard:
        thread.join(0.01)
    news.close()
    thread.join(60)

    assert heard == [{"a": 1}, {}]
