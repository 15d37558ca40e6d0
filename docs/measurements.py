"""Write docs/measurements.md from the record files: ``python docs/measurements.py``."""

from pathlib import Path

from holdfast.core.result import Record, read_records
from holdfast.programs.report_sections import value_text

ROOT = Path(__file__).parent.parent
RECORDS = ROOT / "benchmarks" / "records"
HIDDEN = ("split", "steps", "flips", "bits", "threads", "device", "allocator", "backend", "layers", "dearest")

SECTIONS = (
    (
        "The small CNN and the ceiling of the simulation",
        "200,000 simulated e/γ images (simulator 0.1.1), half electrons. The published CNN "
        "has 0.81 on the official set; these images have their own difficulty, which the large model shows.",
        "holdfast run workflow:egamma-ceiling",
        "egamma_ceiling.jsonl",
        lambda r: r.metric in ("auc", "parameters") and r.labels.get("split") != "val",
    ),
    (
        "The flagship",
        "30,000 simulated images, the default of `make demo`.",
        "holdfast run workflow:egamma-hardened",
        "egamma_hardened.jsonl",
        lambda r: r.labels.get("split") == "test" or "sdc" in r.metric,
    ),
    (
        "ResNet-20 on CIFAR-10",
        "Published weights on the 10,000 real test images.",
        "holdfast run workflow:stress-model --weights resnet20-12fca82f.th --model resnet20 --data cifar10",
        "resnet20_cifar10.jsonl",
        lambda r: (
            r.metric in ("sdc_rate", "critical_sdc_rate", "corrected_rate", "detected_rate")
            or (r.metric == "accuracy" and r.labels.get("stressor") != "bit_flips")
            or r.metric == "latency"
        ),
    ),
    (
        "False alarms",
        "10,000 distinct clean batches of 16 simulated images through the protected CNN of above.",
        "holdfast stress protected/model.safetensors --data IMAGES --split all --batch-size 16 "
        '--stressors \'[{"name": "none", "trials": 10000}]\'',
        "false_alarms.jsonl",
        lambda r: r.metric == "false_alarm_rate",
    ),
    (
        "Critical SDC in 20,800 soft errors of a trained ResNet-20",
        "One flipped bit a trial, any bit, in outputs, weights, inputs, accumulators, Cd1, Cw1 and Co5 of "
        "the protected model; 8 CIFAR-10 test images a trial. SDC: the logits moved by more than 1e-5 of the "
        "largest; critical: a decision changed.",
        "holdfast stress resnet20-protected/model.safetensors --data cifar10 --batch-size 8 "
        '--stressors "$(cat benchmarks/sdc_resnet20.json)"',
        "sdc_resnet20.jsonl",
        lambda r: (
            r.metric in ("sdc_rate", "critical_sdc_rate", "corrected_rate", "recomputed_rate")
            and not {"layer", "bit", "bit_class"} & set(r.labels)
        ),
    ),
    (
        "Recall by bit",
        "Flips in the layers of the trained ResNet-20 whose effect on a sum is at least twice the threshold; "
        "the file has every bit of every site, and the share of all flips that is caught.",
        "HOLDFAST_DATA=... python -m benchmarks.recall_by_bit --each 200",
        "recall_by_bit.jsonl",
        lambda r: r.metric == "recall" and r.labels["bit"] in (16, 20, 22, 23, 26, 30, 31, 52, 60, 63),
    ),
    (
        "False alarms of checks",
        "Fault-free checks of all models of the zoo, of trained ones, and of single layers of random shape, "
        "on real and hostile inputs; by group, dtype, path and number of threads.",
        "HOLDFAST_DATA=... python -m benchmarks.false_alarm_checks --pieces 171 --threads 1 --seed 1",
        "false_alarm_checks.jsonl",
        lambda r: r.metric != "pieces",
    ),
    (
        "Time of the fast path",
        "Medians of paired ratios of the protected model over three baselines, fault-free; native core, "
        "random weights, one allocator that keeps its memory on both sides.",
        "python -m benchmarks.fused_overhead",
        "fused_overhead.jsonl",
        lambda r: True,
    ),
    (
        "Price of a fault",
        "Medians of paired ratios of the same call with and without one fault, each layer struck in its "
        "turn; beyond layer: less what computing the struck layer once more costs.",
        "python -m benchmarks.fault_price",
        "fault_price.jsonl",
        lambda r: True,
    ),
    (
        "Time of a protected ONNX graph",
        "Medians of paired ratios over the plain graph in ONNX Runtime.",
        "python -m benchmarks.onnx_overhead",
        "onnx_overhead.jsonl",
        lambda r: True,
    ),
    (
        "Time of protection without the fast path",
        "Medians of paired ratios, protected over plain in the same layout, fault-free, module by module, "
        "with the native core and without it.",
        "python -m benchmarks.protect_overhead --models resnet18 --batches 1 16",
        "protect_overhead.jsonl",
        lambda r: True,
    ),
    (
        "Size and speed of a packed ResNet-34",
        "32×32×3, prune rate 0.99, random scores, statistics of CIFAR-10 batches, one thread. Speed: median "
        "paired ratio of the dense model's time over the packed one's; prepacked: oneDNN with norms folded "
        "in, sums and ReLUs fused, channels last; compiled: torch.compile with freezing. "
        "Before any time is taken, "
        "the logits of 10,000 test images are compared with the unpacked model's. Additions a second stand "
        "beside what the same loop does on data in the first- and second-level cache.",
        "HOLDFAST_DATA=... python -m benchmarks.sparse_speed",
        "sparse_speed.jsonl",
        lambda r: r.metric != "additions" or r.labels.get("where") == "all layers",
    ),
    (
        "A particle classifier at one bit a weight",
        "60,000 simulated images (simulator 0.2.0), 12 epochs for the dense CNN and 30 for the search of a "
        "binary subnetwork with no more kept weights than that CNN has parameters; packed, protected and "
        "struck: one flipped bit a trial.",
        "holdfast run workflow:egamma-sparse",
        "egamma_sparse.jsonl",
        lambda r: (
            r.metric in ("auc_difference", "file_size", "kept_weights", "parameters")
            or (r.metric == "auc" and r.labels.get("split") == "test" and "stressor" not in r.labels)
            or ("sdc_rate" in r.metric and not {"layer", "bit", "bit_class"} & set(r.labels))
        ),
    ),
    (
        "What a mask search costs a step",
        "Median paired ratio of a step of adversarial training with masks and "
        "straight-through gradients over "
        "the same step with fixed weights; prune rate 0.99, p = 0.1, one thread.",
        "python -m benchmarks.search_overhead",
        "search_overhead.jsonl",
        lambda r: True,
    ),
    (
        "Exported C",
        "Tables and code in flash, working memory, and time an image of the C export, gcc "
        "without options for "
        "this processor, one thread.",
        "python -m benchmarks.c_export",
        "c_export.jsonl",
        lambda r: r.labels.get("level") == "-O2",
    ),
    (
        "Real detector images beside simulated ones",
        "The CNN trained on the energies of 100,000 simulated images (8 epochs) scores the test split of "
        "these and 100 real images of the ML4SCI set. Two-sample AUC: telling the two sources apart by the "
        "score, 0.5 is not at all.",
        "holdfast run program:score-distribution (the commands in docs/explore.md)",
        "real_scores.jsonl",
        lambda r: r.metric in ("auc", "two_sample_auc", "kolmogorov_smirnov"),
    ),
    (
        "Speed of reading and converting",
        "Parquet jets of 125×125×3, random, one process: read, converted as they are, and converted as "
        "`workflow:particle-vit` does; an epoch of the CNN fed from the files over one fed from memory.",
        "python -m benchmarks.etl_speed",
        "etl_speed.jsonl",
        lambda r: True,
    ),
    (
        "What a step costs",
        "Time of a step beyond that of the bare process, in a workflow of 20 steps that each write a number: "
        "run, and served from the cache.",
        "python -m benchmarks.hub_steps --pairs 10",
        "hub_steps.jsonl",
        lambda r: True,
    ),
    (
        "Looking among 10,000 components",
        "Words of a search, one component by name, and the index made anew.",
        "python -m benchmarks.hub_index",
        "hub_index.jsonl",
        lambda r: True,
    ),
    (
        "Questions to a million records",
        "Simulated records in 100 runs; the answer is compared with a plain reading of the files first.",
        "python -m benchmarks.hub_store",
        "hub_store.jsonl",
        lambda r: True,
    ),
    (
        "Fronts of 100,000 points",
        "Two and three objectives, with intervals where it says noisy.",
        "python -m benchmarks.hub_front",
        "hub_front.jsonl",
        lambda r: True,
    ),
    (
        "Detection",
        "All plugins, and Python alone, beside what CMX does offline; each call a process of its own.",
        "HOLDFAST_PEERS=VENV python -m benchmarks.detect_speed",
        "detect_speed.jsonl",
        lambda r: True,
    ),
    (
        "Speed of training",
        "Images a second of `holdfast train` over those of a plain PyTorch loop on the same images in "
        "memory, step pairs A B A B in one process; judging and checkpoints at an epoch's end stand beside.",
        "python -m benchmarks.train_speed --data SIMULATED",
        "train_speed.jsonl",
        lambda r: True,
    ),
)


def page() -> str:
    """The whole page as Markdown."""
    parts = [
        "# Measurements\n\nMade by `python docs/measurements.py` from the files in `benchmarks/records`.\n"
    ]
    for title, text, command, name, wanted in SECTIONS:
        if not (RECORDS / name).exists():
            continue
        records = [record for record in read_records(RECORDS / name) if wanted(record)]
        machine = f"{records[0].platform['processor']}, {records[0].platform['cores']} cores"
        rows = "\n".join(row(record) for record in records)
        parts.append(
            f"## {title}\n\n{text}\n\n    {command}\n\n"
            f"Records: `benchmarks/records/{name}`. Machine: {machine}.\n\n"
            f"| what | metric | value | 95 % interval | n |\n|---|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def row(record: Record) -> str:
    """One line of a table."""
    labels = [
        str(v) if isinstance(v, str) else f"{k} {v:.3g}" for k, v in record.labels.items() if k not in HIDDEN
    ]
    value, interval = value_text(record)
    n = "" if record.n is None else str(record.n)
    return f"| {', '.join(labels)} | {record.metric.replace('_', ' ')} | {value} | {interval} | {n} |"


if __name__ == "__main__":
    (ROOT / "docs" / "measurements.md").write_text(page(), encoding="utf-8")
