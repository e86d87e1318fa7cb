"""The training loop and what it needs: device, schedules, moving averages, state, logs. For any method."""
