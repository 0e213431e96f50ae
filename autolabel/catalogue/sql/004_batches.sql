-- Migration 4: batches of LLM calls that were handed to a provider. A row is written before the provider is told; its key is sent along.
CREATE TABLE batches (
    key VARCHAR, llm VARCHAR, address VARCHAR, batch VARCHAR, state VARCHAR, digests VARCHAR[], created TIMESTAMP);
