"""The training loop and what it needs: device, schedules, moving averages, state, logs. Not tied to one method."""
