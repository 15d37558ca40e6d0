"""What a reader of an exploratory page has to know first: sentences, and whether each asks for something."""

from __future__ import annotations

from holdfast.core.stats import wilson
from holdfast.data.groups import OTHER, UNLABELLED, Group
from holdfast.data.label_evidence import Evidence, label_evidence, odd_files
from holdfast.data.quantities import is_time
from holdfast.data.survey import Survey
from holdfast.hub.render import number
from holdfast.programs.explore_summary import class_name, seed_modes, separating, size

Finding = tuple[str, str]
"""("warn" or "", sentence)."""
_UNBALANCED = 1.5


def findings(found: Survey) -> list[Finding]:
    """Sentences about all files, and what asks for something in any group."""
    sentences = [*_files(found), *_duplicates(found), *_odd(found)]
    for group in found.groups:
        where = f"{size(group)}: " if len(found.groups) > 1 else ""
        sentences += [(kind, where + sentence) for kind, sentence in group_findings(group) if kind]
    return sentences


def group_findings(group: Group) -> list[Finding]:
    """Sentences about the images of one shape."""
    return [*_classes(group), *_values(group), *_seeds(group), *_labels(group)]


def _odd(found: Survey) -> list[Finding]:
    sentences: list[Finding] = []
    for file, quantity, z in odd_files(found):
        more = f"{quantity} is {'larger' if z > 0 else 'smaller'} for label 1 than for label 0"
        errors = f"by {abs(z):.1f} standard errors, unlike in most events"
        sentences.append(("warn", f"{file.path.name}: {more} {errors}: its labels look swapped."))
    return sentences


def plural(count: int, noun: str) -> str:
    """ "1 event", "1,200 events"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def in_bytes(count: float) -> str:
    """Bytes in the largest unit that leaves a number of at least 1."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{number(count, 3)} {unit}"
        count /= 1000
    return f"{number(count, 3)} TB"


def _files(found: Survey) -> list[Finding]:
    good = [file for file in found.files if file.reader is not None]
    events = sum(group.events for group in found.groups)
    total = in_bytes(sum(file.bytes for file in found.files))
    sentences = [("", f"{plural(len(found.files), 'file')}, {total}, {plural(events, 'event')} read.")]
    for file in found.files:
        if file.error is not None:
            sentences.append(("warn", f"{file.path.name} could not be read: {file.error}"))
        elif file.skipped:
            sentences.append(
                ("warn", f"{file.path.name}: {plural(file.skipped, 'event')} could not be read.")
            )
        elif file.read == 0:
            sentences.append(("warn", f"{file.path.name} has no events."))
    if len({group.shape for group in found.groups}) > 1:
        shapes = ", ".join(dict.fromkeys(size(group) for group in found.groups))
        sentences.append(
            (
                "warn",
                f"Images of several shapes ({shapes}): a model needs them brought to one by a transform.",
            )
        )
    elif len(found.groups) > 1:
        sentences.append(("warn", "Files name their channels or units differently: they are shown apart."))
    marks = {file.reader.simulated for file in good if file.reader is not None}
    if len(marks) > 1:
        sentences.append(("warn", "Some of the files are simulated, others do not say so."))
    return sentences


def _duplicates(found: Survey) -> list[Finding]:
    same = found.duplicates
    if same.copies == 0:
        return [("", "No image occurs twice.")]
    sentence = f"{plural(same.copies, 'event')} repeat the image of an earlier one, cell by cell"
    details = []
    if same.across_files:
        details.append(f"{same.across_files:,} of them one in another file")
    if same.contradictory:
        details.append(f"{same.contradictory:,} under another label")
    return [("warn", "; ".join([sentence, *details]) + ". Splits by file or row would leak them.")]


def _classes(group: Group) -> list[Finding]:
    named = {label: c.events for label, c in sorted(group.classes.items())}
    if UNLABELLED in named:
        return [("warn", f"{plural(named[UNLABELLED], 'event')} without a label.")]
    total = sum(named.values())
    shares = []
    for label, events in named.items():
        interval = wilson(events, total)
        span = f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
        shares.append(f"{class_name(group, label)} {100 * events / total:.1f} % {span}")
    words = "Labels: " + ", ".join(shares) + "."
    sentences: list[Finding] = []
    if len(named) == 1:
        sentences.append(("warn", f"{words} With one class nothing can be learned."))
    elif max(named.values()) > _UNBALANCED * min(named.values()):
        guess = 100 * max(named.values()) / total
        sentences.append(
            ("warn", f"{words} Out of balance: who always guesses is right {guess:.0f} % of the time.")
        )
    else:
        sentences.append(("", words))
    if OTHER in named:
        sentences.append(("warn", f"{plural(named[OTHER], 'event')} have a label that is none of 0 to 9."))
    return sentences


def _values(group: Group) -> list[Finding]:
    bad = sum(c.images.left_out for c in group.classes.values())
    empty = sum(c.empty for c in group.classes.values())
    sentences: list[Finding] = []
    if bad:
        sentences.append(("warn", f"{plural(bad, 'image')} with NaN or infinity, left out of the means."))
    else:
        sentences.append(("", "No NaN, no infinity in the images."))
    if empty:
        sentences.append(("warn", f"{plural(empty, 'image')} zero everywhere."))
    for channel, name in enumerate(group.channels):
        cells = [c.cells[channel] for c in group.classes.values()]
        negative, n = sum(c.negative for c in cells), sum(c.n for c in cells)
        if negative and not is_time(name):
            share = number(100 * negative / n, 2)
            lowest = number(min(c.low for c in cells), 3)
            sentences.append(
                ("warn", f"{name}: {plural(negative, 'cell')} below zero ({share} %, down to {lowest}).")
            )
        if n and sum(c.zero for c in cells) == n:
            sentences.append(("warn", f"{name} is zero in every cell of every image."))
    for name in {name for c in group.classes.values() for name in c.quantities}:
        lost = sum(c.quantities[name].nan for c in group.classes.values() if name in c.quantities)
        if lost and ": " not in name:
            sentences.append(("warn", f"{name}: {plural(lost, 'event')} with NaN."))
    if not all(group.units):
        unknown = ", ".join(name for name, unit in zip(group.channels, group.units, strict=True) if not unit)
        sentences.append(("warn", f"The unit of {unknown} is not known: give --units."))
    return sentences


def _seeds(group: Group) -> list[Finding]:
    told = [
        f"{name} at [{row}, {column}] in {100 * share:.0f} %"
        for name, row, column, share in seed_modes(group)
        if not is_time(name)
    ]
    return [("", "Hottest cell most often: " + ", ".join(told) + " of the images.")] if told else []


def _labels(group: Group) -> list[Finding]:
    sentences = [_evidence(each) for each in label_evidence(group)]
    best = max(separating(group), key=lambda each: abs(each[3] - 0.5), default=None)
    if best is not None:
        quantity, high, low, auc, interval = best
        sentences.append(
            (
                "",
                f"What separates {class_name(group, high)} from {class_name(group, low)} best by itself is "
                f"{quantity}: AUC {auc:.3f} [{interval.low:.3f}, {interval.high:.3f}] "
                f"({class_name(group, high if auc > 0.5 else low)} has more of it).",
            )
        )
    return sentences


def _evidence(each: Evidence) -> Finding:
    zero, one = (number(mean, 3) for mean in each.means)
    span = f"[{each.interval.low:.3f}, {each.interval.high:.3f}]"
    measured = (
        f"{each.quantity} is {one} on average for label 1 and {zero} for label 0 (AUC {each.auc:.3f} {span}, "
        f"{abs(each.deviations):.1f} standard deviations)"
    )
    rule = f"{each.larger}s have more of it than {each.smaller}s"
    if each.one is None:
        return ("", f"Too few events to tell what label 1 means: {measured}; {rule}.")
    if each.contradicts:
        return (
            "warn",
            f"The labels look swapped: the files say 1 = {each.declared}, but {measured}; {rule}, "
            f"so 1 = {each.one}.",
        )
    agrees = ", as the files say" if each.declared else ""
    return ("", f"Label 1 means {each.one}{agrees}: {measured}; {rule}.")
