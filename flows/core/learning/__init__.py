"""Online learning: the learner, and the contest of champion and challenger."""
