"""Gives each question a unique time in microseconds, which identifies the features it was served."""

from collections.abc import Iterable, Sequence


class Moments:
    """Assigns the microseconds of one slot's questions.

    Questions in order get the first microseconds of their millisecond, from 1 up, so that they follow
    everything that is as of the millisecond itself. Questions behind an earlier one get the last
    microseconds, from 999 down. Beyond 999 questions in a millisecond its last moment is shared. `lateness`
    (ms) is how far behind the newest a question may be; `state` comes from `snapshot`.

    >>> moments = Moments(lateness=10)
    >>> [moments.take(time) for time in (5, 5, 6, 5, 5)]
    [5001, 5002, 6001, 5999, 5998]
    """

    def __init__(self, lateness: int, state: Sequence[int] = (0,)) -> None:
        self._lateness = lateness
        self._newest, *past = state
        self._past = {moment // 1000: moment for moment in past}  # last moment by earlier millisecond
        self._look_at = 0  # the newest time (ms) at which to forget earlier milliseconds

    def take(self, time: int) -> int:
        """Return the moment (us) of the next question, which is asked at `time` (ms)."""
        newest = self._newest // 1000
        if time < newest:
            before = self._past.get(time, time * 1000 + 1000)
            self._past[time] = moment = max(before - 1, time * 1000 + 1)
            return moment
        before = self._newest if time == newest else time * 1000
        self._newest = min(before + 1, time * 1000 + 999)
        if time > self._look_at:
            self._forget()
        return self._newest

    def take_batch(self, times: Iterable[int]) -> list[int]:
        """Return the moments of the next questions, which are asked at `times` (ms)."""
        moments: list[int] = []
        newest = self._newest
        for time in times:
            if time * 1000 > newest:  # the first question of its millisecond, as most are
                newest = time * 1000 + 1
                moments.append(newest)
            else:
                self._newest = newest
                moments.append(self.take(time))
                newest = self._newest
        self._newest = newest
        if self._newest // 1000 > self._look_at:
            self._forget()
        return moments

    def snapshot(self) -> list[int]:
        """Return the moments to resume from."""
        self._forget()
        return [self._newest, *self._past.values()]

    def _forget(self) -> None:
        """Forget the milliseconds for which every question would be late; called once per lateness."""
        now = self._newest // 1000
        self._past = {time: moment for time, moment in self._past.items() if time >= now - self._lateness}
        self._look_at = now + self._lateness
