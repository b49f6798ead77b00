"""Events as data: topics, envelopes and the queue of a subscriber; pure but for the queue."""
