"""A small causal language model for tests: random weights, byte-level tokens (every digit one token), a chat template if wanted."""

from __future__ import annotations

from pathlib import Path

CHAT = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


def make_local(folder: Path, *, chat: bool = False, context: int = 2048, ten: bool = False, seed: int = 1, hidden: int = 32, layers: int = 2) -> Path:
    """Write the model. `ten`: the vocabulary has `10` as one token."""
    import torch
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    torch.set_num_threads(1)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(alphabet)} | ({"10": len(alphabet)} if ten else {})
    made = Tokenizer(models.BPE(vocabulary, [("1", "0")] if ten else []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    made.add_special_tokens([AddedToken(s, special=True) for s in special])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|begin|>", eos_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": special[2:]})
    if chat:
        tokenizer.chat_template = CHAT
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=context, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, tie_word_embeddings=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(config)
        for tensor in model.parameters():
            tensor.data += 0.1 * torch.randn(tensor.shape)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
