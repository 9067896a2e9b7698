"""A language model of 1 MB with random weights, as GGUF: enough to load, stream, stop and overflow. Needs numpy and gguf.

    python3 model.py FILE

It says English words at random and hardly ever ends by itself. That comes of one trick: dimension 0 of the residual is a
constant which no layer writes, so the first column of the output head is a bias for each token.
"""

import sys

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 2, 128, 65536
WORDS = """the of and to in is that it was for on are as with his they at be this from have or by one had not but what all were
when we there can an your which their said if do will each about how up out them then she many some so these would other into
has more her two like him see time could no make than first been its who now people my made over did down only way""".split()
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_alphabet():
    """GPT-2's: each byte as one printable character."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


def vocabulary():
    """The bytes, then each word letter by letter, as byte-pair merges build it."""
    tokens, merges, words = byte_alphabet(), [], []
    for word in WORDS:
        built = "\u0120"
        for letter in word:
            if built + letter not in tokens:
                tokens.append(built + letter)
                merges.append(f"{built} {letter}")
            built += letter
        words.append(tokens.index(built))
    return tokens, merges, words


def weights(size, likely, ends):
    rng = np.random.default_rng(0)

    def random(*shape):
        return (rng.standard_normal(shape) * (0.5 / np.sqrt(shape[-1]))).astype(np.float32)

    embedding = rng.standard_normal((size, WIDTH)).astype(np.float32)
    embedding[:, 0] = 10.0
    bias = np.full(size, -25.0, np.float32)
    bias[likely] = 3.0
    bias[ends] = -6.0
    head = (rng.standard_normal((size, WIDTH)) * 0.35).astype(np.float32)
    head[:, 0] = bias / 4.0
    yield "token_embd", embedding
    yield "output_norm", np.ones(WIDTH, np.float32)
    yield "output", head
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v"):
            yield f"blk.{layer}.{name}", random(WIDTH, WIDTH)
        for name in ("ffn_gate", "ffn_up"):
            yield f"blk.{layer}.{name}", random(INNER, WIDTH)
        for name, width in (("attn_output", WIDTH), ("ffn_down", INNER)):
            weight = random(WIDTH, width)
            weight[0, :] = 0
            yield f"blk.{layer}.{name}", weight
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}", np.ones(WIDTH, np.float32)


def main(file):
    tokens, merges, words = vocabulary()
    specials = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    first = len(tokens)
    tokens += specials
    out = gguf.GGUFWriter(file, "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(INNER)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_vocab_size(len(tokens))
    out.add_file_type(gguf.LlamaFileType.ALL_F32)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.NORMAL] * first + [gguf.TokenType.CONTROL] * len(specials))
    out.add_token_merges(merges)
    out.add_bos_token_id(first)
    out.add_eos_token_id(first + 3)
    out.add_add_bos_token(False)
    out.add_chat_template(CHAT)
    for name, weight in weights(len(tokens), words, [first + 1, first + 3]):
        out.add_tensor(f"{name}.weight", weight)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


main(sys.argv[1])
