"""Do transformers, peft, and llama.cpp load what mamba-train writes, and compute the same?

    venv/bin/python .ci/peers.d/loads-what-mamba-train-writes.py [case ...]

Six small models of all three families are trained on the quick start's texts, adapted, merged and exported.
transformers reads the merged directory, peft the adapter, llama.cpp every type of GGUF file. Logits, greedy texts,
token ids and the chat template are compared; the logits of mlx-lm are compared if it is installed. Needs torch,
transformers, peft, sentencepiece and xllamacpp (or LLAMA_SERVER).
"""
from common import *
import torch, transformers, peft

TYPES = os.environ.get("TYPES", "F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q4_K_M Q4_0").split()
# LEAD is the margin by which the chosen token must lead before two programs have to agree on it. llama.cpp rounds the
# activations of every product to the precision of the weights, which changes the logits of a 4-bit file by a few tenths.
LEAD = {"F32": 0.01, "F16": 0.1, "BF16": 0.3}
TEXTS = ["A friend is a gift you give yourself.", " two  spaces,\n\nnew lines\tand tabs ", "don't 1234567 x²y 12½3456 a+b <= $5 ^~|`", "мир 漢字 🙂 é \u00a0nbsp",
         " ", "The river <|endoftext|> goes on", "[INST] hello [/INST] world</s>", "\u2581under ▁score", "\r\n\x00\x7f end", "ünïcödé Ω≈ç√∫ naïve", "foo_bar(baz) += 0x1F; // 10%"]
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a friend?"}]


def tokenizer(name, base, **settings):
    """A tokenizer directory with a chat template."""
    out = WORK / ("tokenizer-" + name)
    out.mkdir(exist_ok=True)
    if base == QUICKSTART:
        shutil.copy(base / "tokenizer.json", out)
        settings = json.loads((base / "tokenizer_config.json").read_text())
    else:
        shutil.copy(base, out / "tokenizer.json")
    (out / "tokenizer_config.json").write_text(json.dumps(settings))
    (out / "chat_template.jinja").write_text(TEMPLATE)
    return out


def cases():
    neox = tokenizer("neox", QUICKSTART)
    falcon = tokenizer("falcon", TOKENIZERS / "falcon.json", tokenizer_class="PreTrainedTokenizerFast", bos_token=">>TITLE<<", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    codestral = sentencepiece("codestral")
    return {
        "mamba, tied": ("mamba", neox, dict(vocab_size=1024)),
        "mamba, untied": ("mamba", neox, dict(vocab_size=1024, tie_word_embeddings=False)),
        "falcon_mamba, tied": ("falcon_mamba", falcon, dict(vocab_size=512)),
        "falcon_mamba, untied": ("falcon_mamba", falcon, dict(vocab_size=512, tie_word_embeddings=False)),
        "mamba2, tied, GPT-NeoX tokenizer": ("mamba2", neox, dict(vocab_size=1024, n_groups=1)),
        "mamba2, untied, Codestral's tokenizer": ("mamba2", codestral, dict(vocab_size=704, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)),
    }


def train(base, name, targets=None, steps=60, rate=5e-3):
    c = WORK / (name + ".yaml")
    c.write_text(json.dumps({
        "model": str(base), "output_dir": str(WORK / name),
        "data": {"train": str(QUOTES), "dataset_text_field": "quote", "max_train_samples": 16},
        "train": {"max_steps": steps, "per_device_train_batch_size": 4, "learning_rate": rate},
    } | ({"lora": {"r": 4, "target_modules": targets}} if targets else {})))
    mamba_train("train", "--quiet", "-c", c)
    return WORK / name


failures = []


def check(case, what, right, shown):
    rows.append((case, what, shown, "PASS" if right else "DIFFERS"))
    print(*rows[-1], sep=" | ", file=sys.stderr)
    if not right:
        failures.append("%s: %s" % (case, what))


@torch.no_grad()
def their_logits(m, sequence):
    return m(torch.tensor([sequence])).logits[0].numpy()


def their_greedy(m, prompt, n):
    out = m.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False, min_new_tokens=n, max_new_tokens=n, eos_token_id=None)
    return out[0].tolist()[len(prompt):]


def compare_greedy(a, a_logits, start, b, lead):
    """The number of steps for which both texts agree, and whether the first difference is at a token that leads by less than lead."""
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            best = np.sort(a_logits[start + i])[-2:]
            return i, best[1] - best[0] < lead
    return len(a), True


def hugging_face(case, merged, base, adapter, prompts):
    m = transformers.AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    sequence = prompts[0] + prompts[1]
    mine = ours(model=merged, ids=[sequence])["logits"][0]
    d = largest(mine, their_logits(m, sequence))
    check(case, "transformers, merged: logits", d < ROUNDING, "%.1e of %.1f" % (d, np.abs(mine).max()))
    g = ours(model=merged, ids=prompts, greedy=24)
    agree = [compare_greedy(t, l, len(p) - 1, their_greedy(m, p, 24), LEAD["F32"]) for t, l, p in zip(g["tokens"], g["logits"], prompts)]
    check(case, "transformers, merged: greedy text", all(right for _, right in agree), "%d of %d tokens" % (sum(n for n, _ in agree), 24 * len(prompts)))

    t = transformers.AutoTokenizer.from_pretrained(merged)
    mine = ours(model=merged, texts=TEXTS)["tokens"]
    wrong = [x for x, i in zip(TEXTS, mine) if t(x)["input_ids"] != i]
    check(case, "transformers: tokens", not wrong, "%d of %d texts" % (len(TEXTS) - len(wrong), len(TEXTS)) + (" not %r" % wrong[0] if wrong else ""))
    chat = t.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    check(case, "transformers: chat template", "<user> What is a friend?" in chat and chat.endswith("<assistant> "), repr(chat[-12:]))

    m = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    mine = ours(model=base, adapter=adapter, ids=[sequence])["logits"][0]
    d = largest(mine, their_logits(m, sequence))
    check(case, "peft, our adapter: logits", d < ROUNDING, "%.1e" % d)
    torch.manual_seed(1)
    # The other direction: an adapter that peft created.
    targets = ["in_proj"] if "mamba2" in case else ["in_proj", "x_proj"]
    m = peft.get_peft_model(transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
                            peft.LoraConfig(r=3, lora_alpha=5, use_rslora=True, init_lora_weights=False, target_modules=targets, task_type="CAUSAL_LM"))
    theirs = str(adapter) + "-peft"
    m.save_pretrained(theirs)
    mine = ours(model=base, adapter=theirs, ids=[sequence])["logits"][0]
    d = largest(mine, their_logits(m.eval(), sequence))
    check(case, "mamba-train, peft's adapter: logits", d < ROUNDING, "%.1e" % d)


def mlx_lm(case, merged, prompts):
    try:
        import mlx.core as mx
        from mlx_lm.utils import load_model
    except ImportError:
        return
    if json.loads((merged / "config.json").read_text()).get("n_groups", 1) > 1:
        return  # mlx-groups.py
    mx.set_default_device(mx.cpu)
    m, _ = load_model(merged)
    sequence = prompts[0] + prompts[1]
    d = largest(ours(model=merged, ids=[sequence])["logits"][0], np.array(m(mx.array([sequence]))[0].astype(mx.float32)))
    check(case, "mlx-lm, merged: logits", d < ROUNDING, "%.1e" % d)


def normal(logits):
    x = logits.astype(np.float64)
    return x - (np.log(np.exp(x - x.max()).sum()) + x.max())


def other_forms(case, merged, base, lora, prompts):
    """bfloat16 in shards for transformers, and the adapter by itself for llama.cpp."""
    half = merged.parent / (merged.name + "-bf16")
    mamba_train("export", "--quiet", "--format", "hf", "--model", merged, "--dtype", "bfloat16", "--max-shard-size", "500KB", "--output", half)
    shards = len(list(half.glob("model-*.safetensors")))
    m = transformers.AutoModelForCausalLM.from_pretrained(half, dtype=torch.float32)
    d = largest(ours(model=half, ids=prompts[:1])["logits"][0], their_logits(m, prompts[0]))
    check(case, "transformers, bfloat16 in %d shards: logits" % shards, d < ROUNDING, "%.1e" % d)

    files = [merged.parent / (lora.name + end) for end in ("-base.gguf", "-adapter.gguf")]
    mamba_train("export", "--quiet", "--format", "gguf", "--type", "F32", "--model", base, "--output", files[0])
    mamba_train("export", "--quiet", "--format", "gguf", "--adapter", lora, "--output", files[1])
    server = Llama(files[0], lora=files[1])
    mine = normal(ours(model=base, adapter=lora, ids=prompts[:1])["logits"][0][-1])
    _, theirs = server.greedy(prompts[0], 1, top=20)
    server.close()
    d = max(abs(mine[t] - p) for t, p in theirs[0].items())
    check(case, "llama.cpp, F32 with the adapter: log probabilities", d < ROUNDING, "%.1e" % d)


def llama_cpp(case, merged, prompts):
    for kind in TYPES:
        file = WORK / (merged.name + "-gguf") / (kind + ".gguf")
        file.parent.mkdir(exist_ok=True)
        shutil.copy(merged / "tokenizer.json", file.parent)  # a GGUF file does not have all of a SentencePiece tokenizer
        mamba_train("export", "--quiet", "--format", "gguf", "--model", merged, "--type", kind, "--output", file)
        g = ours(model=file, ids=prompts, greedy=24)
        lead = LEAD.get(kind, 0.5)
        server = Llama(file)
        agree, worst = [], 0.0
        for chosen, logits, p in zip(g["tokens"], g["logits"], prompts):
            theirs, probabilities = server.greedy(p, 24, top=8)
            agree.append(compare_greedy(chosen, logits, len(p) - 1, theirs, lead))
            first = normal(logits[len(p) - 1])
            best = np.argsort(first)[-4:]
            worst = max([worst] + [abs(first[t] - probabilities[0][t]) for t in best if t in probabilities[0]])
        check(case, "llama.cpp, %s: greedy text" % kind, all(right for _, right in agree),
              "%d of %d tokens, log probabilities within %.1e" % (sum(n for n, _ in agree), 24 * len(prompts), worst))
        if kind == "F32":
            # llama-cpp-splits-otherwise.py has the texts that llama.cpp is known to treat differently.
            texts = [x for x in TEXTS if "Codestral" not in case or not (x[0] in " \u2581" or "[INST]" in x)]
            mine = ours(model=merged, texts=texts)["tokens"]
            wrong = [x for x, i in zip(texts, mine) if server.tokens(x) != i]
            check(case, "llama.cpp: tokens", not wrong, "%d of %d texts" % (len(texts) - len(wrong), len(texts)) + (" not %r" % wrong[0] if wrong else ""))
            carried = server.get("/props")["chat_template"] == TEMPLATE
            check(case, "llama.cpp: chat template", carried, "the same text" if carried else "another text")
        server.close()
        del server
        file.unlink()


header("What mamba-train writes, loaded by the others", "transformers", "peft", "torch", "tokenizers", "mlx-lm", "xllamacpp")
rows = [("model", "what", "result", "")]
wanted = sys.argv[1:]
for case, (family, tokens, changes) in cases().items():
    if wanted and case not in wanted:
        continue
    name = case.replace(", ", "-").replace(" ", "-").replace("'", "")
    base = train(model(name, family, tokens, **changes), name + "-full")
    plain = ["in_proj", "embeddings"] if family == "mamba2" else ["in_proj", "x_proj", "embeddings"]
    adapter = train(base, name + "-adapter", plain, 10)
    everything = plain + ["out_proj"] + ([] if family == "mamba2" else ["dt_proj"])
    lora = train(base, name + "-lora", everything, 10)
    mamba_train("merge", "--quiet", "--adapter", lora, "--output", WORK / (name + "-merged"))
    merged = WORK / (name + "-merged")
    prompts = ours(model=merged, texts=["A friend", "The sea does not", "Bread and"])["tokens"]
    hugging_face(case, merged, base, adapter, prompts)
    mlx_lm(case, merged, prompts)
    # On a tied table, llama.cpp would also change the head, so such an adapter is merged first.
    projections = train(base, name + "-projections", [t for t in everything if t != "embeddings"], 10)
    other_forms(case, merged, base, projections, prompts)
    llama_cpp(case, merged, prompts)
table(*rows)
verdict(not failures, "; ".join(failures) if failures else "all of it loads and computes the same")
