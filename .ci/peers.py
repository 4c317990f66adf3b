"""One training step of the model page's recipe in transformers and peft, timed. Prints one JSON object.

    python .ci/peers.py --scan default --tokens 192 --documents 4

The model has the shape of mamba-130m and random weights, so nothing is downloaded. LoRA has r 8 on x_proj, embeddings,
in_proj and, if the installed peft accepts it, out_proj. A step is forward, backward, clipping and AdamW on documents of
equal length, so that the peer computes no padding. The result is the median of all steps except the first.
"""
import argparse, json, platform, resource, statistics, time, warnings

parser = argparse.ArgumentParser()
parser.add_argument("--scan", choices=["default", "mambapy"], default="default", help="default: a loop over the tokens; mambapy: its parallel scan")
parser.add_argument("--tokens", type=int, default=192, help="of all documents together")
parser.add_argument("--documents", type=int, default=4)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--device", default="cpu", help="of torch, such as cuda")
args = parser.parse_args()

warnings.filterwarnings("ignore")
import torch, transformers, peft

torch.set_num_threads(args.threads)
torch.manual_seed(1)
transformers.logging.set_verbosity_error()
sizes = dict(vocab_size=50280, hidden_size=768, num_hidden_layers=24, state_size=16, use_mambapy=args.scan == "mambapy", use_associative_scan=False)


def adapt(targets):
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**sizes))
    return peft.get_peft_model(model, peft.LoraConfig(r=8, bias="none", task_type="CAUSAL_LM", target_modules=targets))


targets = ["x_proj", "embeddings", "in_proj", "out_proj"]
try:
    adapted = adapt(targets)
except ValueError:  # peft 0.16 and newer
    targets = targets[:-1]
    adapted = adapt(targets)
adapted.to(args.device).train()
trainable = [p for p in adapted.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trainable, lr=2e-3, weight_decay=0.0)
ids = torch.randint(0, 50277, (args.documents, args.tokens // args.documents), device=args.device)

seconds = []
for _ in range(args.steps + 1):
    began = time.perf_counter()
    adapted(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(trainable, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    if args.device != "cpu":
        torch.cuda.synchronize()
    seconds.append(time.perf_counter() - began)

unit = 1 if platform.system() == "Darwin" else 1024  # of ru_maxrss, in bytes
step = statistics.median(seconds[1:])
print(json.dumps({
    "tokens_per_second": ids.numel() / step, "step_seconds": step, "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    "trainable": sum(p.numel() for p in trainable), "targets": targets, "threads": args.threads, "device": args.device,
    "versions": "transformers %s, peft %s, torch %s" % (transformers.__version__, peft.__version__, torch.__version__),
}))
