"""Code shared by the scripts in this folder: mamba-train built from this clone, small models, llama.cpp, the verdict.

Every script compares mamba-train with another program on a small model with random weights, prints both numbers and
ends with PASS (the other program's result is right, up to rounding) or DIFFERS, and exits with 0 or 1. The size of a
difference shows that a result is wrong, not how much a trained model would suffer.
"""
import atexit, datetime, importlib.metadata, json, os, pathlib, shutil, subprocess, sys, tempfile, urllib.request, warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "configs/quickstart/base"
QUOTES = ROOT / "configs/quickstart/quotes.parquet"
TOKENIZERS = ROOT / "data/tokenizer/testdata/families"
WORK = pathlib.Path(tempfile.mkdtemp(prefix="mamba-train-peers-"))
atexit.register(shutil.rmtree, WORK, ignore_errors=True)

# ROUNDING is the largest difference between the logits of two correct float32 programs for these models.
ROUNDING = 1e-3


def build(name, package):
    if os.environ.get("PEERS_BIN"):  # ready-made programs, to save time
        return pathlib.Path(os.environ["PEERS_BIN"]) / name
    out = WORK / name
    subprocess.run(["go", "build", "-trimpath", "-o", out, package], cwd=ROOT, check=True, env=os.environ | {"CGO_ENABLED": "0"})
    return out


_programs = {}


def program(name, package):
    if name not in _programs:
        _programs[name] = build(name, package)
    return _programs[name]


def mamba_train(*args):
    """Runs a command and returns what it prints to standard output."""
    done = subprocess.run([program("mamba-train", "./cmd/mamba-train"), *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("mamba-train %s: %s" % (" ".join(map(str, args)), done.stderr.strip()))
    return done.stdout


def ours(**request):
    """Sends a request to ours.go, which defines its fields. Logits are returned as one array per sequence."""
    request = {k: str(v) if isinstance(v, pathlib.Path) else v for k, v in request.items()}
    done = subprocess.run([program("ours", ".ci/peers.d/ours.go")], input=json.dumps(request), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError("ours.go: %s" % done.stderr.strip())
    answer = json.loads(done.stdout)
    answer["logits"] = [np.array(x, dtype=np.float32) for x in answer.get("logits", [])]
    return answer


# Small models by family, with the keys of config.json. Their widths suit every GGUF type.
SIZES = {
    "mamba": dict(model_type="mamba", hidden_size=256, num_hidden_layers=2, state_size=16),
    "falcon_mamba": dict(model_type="falcon_mamba", hidden_size=256, num_hidden_layers=2, state_size=16, expand=16, intermediate_size=512, time_step_rank=32),
    "mamba2": dict(model_type="mamba2", hidden_size=256, num_hidden_layers=2, state_size=64, num_heads=8, head_dim=64, n_groups=2),
}


def model(name, family, tokenizer=None, **changes):
    """Creates a model directory with mamba-train init. Its weights are large (transformers' initialization), so that faults show."""
    config = WORK / (name + ".json")
    config.write_text(json.dumps(SIZES[family] | dict(vocab_size=1024, tie_word_embeddings=True, eos_token_id=0, bos_token_id=0, pad_token_id=0) | changes))
    flags = ["--tokenizer", tokenizer] if tokenizer else []
    mamba_train("init", "--quiet", "--config", config, "--init", "hf", "--seed", "7", "--output", WORK / name, *flags)
    return WORK / name


TEMPLATE = """{%- for message in messages -%}
{{ '<' + message.role + '> ' + message.content + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<assistant> ' }}{%- endif -%}"""


def sentencepiece(name):
    """A tokenizer like Codestral's: SentencePiece's BPE with byte fallback, trained here and converted as transformers does."""
    import pyarrow.parquet, sentencepiece
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    out = WORK / ("tokenizer-" + name)
    texts = pyarrow.parquet.read_table(QUOTES, columns=["quote"])["quote"].to_pylist()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_prefix=str(WORK / name), model_type="bpe", vocab_size=700, byte_fallback=True,
                                             split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
                                             user_defined_symbols=[], control_symbols=["[INST]", "[/INST]"], minloglevel=2)
    sp = sentencepiece.SentencePieceProcessor(model_file=str(WORK / name) + ".model")
    pieces = [sp.id_to_piece(i) for i in range(sp.vocab_size())]
    vocab = {p: i for i, p in enumerate(pieces)}
    normal = {p for i, p in enumerate(pieces) if not (sp.is_control(i) or sp.is_unknown(i) or sp.is_byte(i))}
    merges = sorted(((p[:i], p[i:]) for p in normal for i in range(1, len(p)) if p[:i] in normal and p[i:] in normal),
                    key=lambda m: (vocab[m[0] + m[1]], vocab[m[0]], vocab[m[1]]))
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.add_special_tokens([p for i, p in enumerate(pieces) if sp.is_control(i) or sp.is_unknown(i)])
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", vocab["<s>"])])
    out.mkdir()
    t.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps(dict(
        tokenizer_class="LlamaTokenizerFast", bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True, add_eos_token=False, legacy=False)))
    (out / "chat_template.jinja").write_text(TEMPLATE)
    return out


def biased(path):
    """Gives the biases of a model's projections random values, because new ones are 0."""
    import safetensors.torch, torch

    torch.manual_seed(3)
    tensors = safetensors.torch.load_file(path / "model.safetensors")
    for name in tensors:
        if name.endswith("proj.bias") and "dt_proj" not in name:
            tensors[name] = torch.randn_like(tensors[name])
    safetensors.torch.save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


def ids(n, vocabulary=1024, seed=1):
    return np.random.default_rng(seed).integers(2, vocabulary - 24, n).tolist()


def largest(a, b):
    return float(np.abs(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).max())


def versions(*packages):
    line = []
    for p in packages:
        try:
            line.append("%s %s" % (p, importlib.metadata.version(p)))
        except importlib.metadata.PackageNotFoundError:
            line.append("%s is not installed" % p)
    return ", ".join(line)


def header(title, *packages):
    print("# " + title)
    print()
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print("mamba-train %s; %s; %s" % (commit, versions(*packages), datetime.date.today()))
    print()


def table(*rows):
    """Prints a Markdown table; the first row is its header."""
    for i, row in enumerate(rows):
        print("| " + " | ".join("%.2g" % x if isinstance(x, float) else str(x) for x in row) + " |")
        if i == 0:
            print("|" + "---|" * len(row))
    print()


def verdict(right, what):
    """Ends the script with a verdict. right means that the other program's result is right."""
    print("%s: %s" % ("PASS" if right else "DIFFERS", what))
    sys.exit(0 if right else 1)


class Llama:
    """llama.cpp's server on one GGUF file: the program that LLAMA_SERVER names, or the package xllamacpp (pip install xllamacpp)."""

    def __init__(self, file, threads=2, lora=None):
        self.process = None
        if os.environ.get("LLAMA_SERVER"):
            self._start(file, threads, lora)
            return
        import xllamacpp

        p = xllamacpp.CommonParams()
        p.model.path, p.n_ctx, p.n_parallel, p.cpuparams.n_threads, p.verbosity = str(file), 1024, 1, threads, -1
        p.warmup = False
        if lora:
            p.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(lora), 1.0)]
        self.server = xllamacpp.Server(p)
        self.url = self.server.listening_address

    def _start(self, file, threads, lora):
        import socket, time

        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % port
        self.process = subprocess.Popen([os.environ["LLAMA_SERVER"], "-m", str(file), "-c", "1024", "-np", "1", "-t", str(threads), "--port", str(port), *(["--lora", str(lora)] if lora else [])],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                self.get("/health")
                return
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError("llama-server does not load " + str(file))
                time.sleep(0.1)

    def get(self, path):
        return json.load(urllib.request.urlopen(self.url + path))

    def post(self, path, **body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))

    def tokens(self, text):
        return self.post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"]

    def greedy(self, prompt, n, top=2):
        """The tokens chosen after a prompt of ids, and for each one the log probabilities by id."""
        steps = self.post("/completion", prompt=prompt, n_predict=n, temperature=0, n_probs=top, cache_prompt=False, ignore_eos=False)["completion_probabilities"]
        return [s["id"] for s in steps], [{t["id"]: t["logprob"] for t in s["top_logprobs"]} for s in steps]

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
        else:
            self.server = None


def llama_version():
    return os.environ.get("LLAMA_SERVER") or versions("xllamacpp")
