"""A time in microseconds for each question, no two the same, so that what it was served can be told by it."""

from collections.abc import Sequence


class Moments:
    """Hands out the microseconds of one slot's questions.

    Questions in order get the first microseconds of their millisecond, from 1 up, so that they stand behind
    all that is as of the millisecond itself; those behind an earlier question get the last ones, from 999
    down. Beyond 999 questions a millisecond its last moment is shared. `lateness` (ms) is how far behind the
    newest a question may be; `state` is what `snapshot` gave.

    >>> moments = Moments(lateness=10)
    >>> [moments.take(time) for time in (5, 5, 6, 5, 5)]
    [5001, 5002, 6001, 5999, 5998]
    """

    def __init__(self, lateness: int, state: Sequence[int] = (0,)) -> None:
        self._lateness = lateness
        self._newest, *past = state
        self._past = {moment // 1000: moment for moment in past}  # the last one handed out behind the newest
        self._look_at = 0  # the time (ms) of the newest question at which to forget what is too late

    def take(self, time: int) -> int:
        """The moment (us) of the next question, which is asked at `time` (ms)."""
        newest = self._newest // 1000
        if time < newest:
            before = self._past.get(time, time * 1000 + 1000)
            self._past[time] = moment = max(before - 1, time * 1000 + 1)
            return moment
        before = self._newest if time == newest else time * 1000
        self._newest = min(before + 1, time * 1000 + 999)
        if time > self._look_at:
            self._forget(time)
        return self._newest

    def snapshot(self) -> list[int]:
        """The moments to resume from."""
        return [self._newest, *self._past.values()]

    def _forget(self, now: int) -> None:
        """Forget the milliseconds of which no question is taken any more, once in each lateness."""
        self._past = {time: moment for time, moment in self._past.items() if time >= now - self._lateness}
        self._look_at = now + self._lateness
