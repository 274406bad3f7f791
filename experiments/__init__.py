"""What made the course's numbers: trainings, judges, rivals, measurements; and two tools of the notebooks.

Each file but the tools is a command, `python experiments/NAME.py`.
"""
