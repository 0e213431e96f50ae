"""Simulators read a label and predict; one file each.

`pattern` runs executable labels without any LLM; `logprob` asks a local model about all tokens at once, `digits` any chat API,
`embedding` nobody. `calibrated` is around any of them.
"""
