-- In front of every script: the store's own time, in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

