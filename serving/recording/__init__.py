"""A sample of live requests, masked, for replay.

request ─ offer ─▶ Sampler ─▶ bounded queue ─▶ (one thread) Masker ─▶ segments on disk ─▶ reader
"""
