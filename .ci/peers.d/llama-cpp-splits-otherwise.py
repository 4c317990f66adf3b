"""Texts that llama.cpp tokenizes differently from the tokenizer that a model was trained with.

Older builds of llama.cpp do not normalize text, and with a SentencePiece tokenizer llama.cpp puts a space
before every stretch of text. Shown: the number of tokens that each program produces for such texts. mamba-train warns of
both when it exports. Needs transformers, sentencepiece and xllamacpp (or LLAMA_SERVER).
"""
from common import *
import transformers

header("Tokens in llama.cpp", "xllamacpp", "transformers", "tokenizers")
cases = {
    "GPT-NeoX (NFC)": ("mamba", QUICKSTART, dict(vocab_size=1024), ["café", "cafe\u0301"]),
    "Codestral (Metaspace, first)": ("mamba2", sentencepiece("codestral"), dict(vocab_size=704), ["a friend", " a friend", "[INST]a friend[/INST]"]),
}
rows, right = [("tokenizer", "text", "mamba-train", "transformers", "llama.cpp", "")], True
for name, (family, tokenizer, changes, texts) in cases.items():
    path = model(name.split()[0], family, tokenizer, **changes)
    file = WORK / (path.name + ".gguf")
    mamba_train("export", "--quiet", "--format", "gguf", "--model", path, "--output", file)
    server, theirs = Llama(file), transformers.AutoTokenizer.from_pretrained(path)
    for text, mine in zip(texts, ours(model=path, texts=texts)["tokens"]):
        llama = server.tokens(text)
        rows.append((name, ascii(text), len(mine), len(theirs(text)["input_ids"]), len(llama), "same" if llama == mine else "other ids"))
        assert mine == theirs(text)["input_ids"]
        right = right and llama == mine
    server.close()
table(*rows)
verdict(right, "llama.cpp " + ("makes the same tokens" if right else "makes other tokens of texts that are not normalized, begin with a space, or follow a special token"))
