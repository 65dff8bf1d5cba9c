"""Trains candidates in processes of their own, at low priority.

The retrain flow starts one trainer for a trigger and polls it. The trainer forks one job after the other,
each for one model, and ends those that exceed the budget or the memory. Trainer and jobs end with the flow.
"""
