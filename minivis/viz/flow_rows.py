"""The rows of a diagram: which parts share a row, which rows belong to a container, which arrows need a lane at the side.

Not here: lengths (flow_layout.py).
"""

__all__ = []

MOST = 3  # boxes side by side
NARROW = 2.6  # inches of width that are always available


def from_the_side(diagram):
    """Keys of parts that enter from the side: learned values, masks, constants, and inside a block all inputs but the first."""
    reached = {a.end for a in diagram.arrows}
    nested = all(part.name == "" for part in diagram.parts if part.role == "output")
    inputs = [part.key for part in diagram.parts if part.role == "input"]
    found = {part.key for part in diagram.parts if part.role in ("learned", "made")}
    found |= {p.key for p in diagram.parts if p.role == "stage" and p.key not in reached and not p.parameters}
    found |= set(inputs[1:]) if nested else set()
    # a part is not at the side if no other part leads to its target
    return {
        key for key in found if all(_others(diagram, a.end, found) for a in diagram.arrows if a.start == key)
    }


def _others(diagram, end, side):
    return any(a.end == end and a.start not in side for a in diagram.arrows)


def in_order(parts, arrows):
    """Parts sorted so that arrows point forward and containers stay together; and the arrows that close a cycle.

    Kahn's method; of the parts that are ready, those in the container of the part before come first.
    """
    waiting = list(parts)
    back = []
    found = []
    while waiting:
        open_keys = {part.key for part in waiting}
        into = {a.end for a in arrows if a.start in open_keys and a.end in open_keys and a not in back}
        ready = [part for part in waiting if part.key not in into]
        if not ready:
            ready = waiting[:1]
            back += [a for a in arrows if a.end == ready[0].key and a.start in open_keys]
        frames = found[-1].frames if found else ()
        # the first, if several are equal
        chosen = max(ready, key=lambda part: _depth_in_common(part.frames, frames))
        waiting.remove(chosen)
        found.append(chosen)
    return found, back


def _depth_in_common(first, second):
    return sum(a == b for a, b in zip(first, second, strict=False))


def rows_of(order, arrows, least_width):
    """Parts in rows. Inputs or outputs share a row, and so do layers with the same input or of the same kind."""
    rows = []
    row_of = {}
    for part in order:
        starts = {a.start for a in arrows if a.end == part.key}
        earliest = 1 + max((row_of[start] for start in starts), default=-1)
        free = [r for r in range(earliest, len(rows)) if _fits(part, rows[r], least_width)]
        siblings = {a.end for a in arrows if a.start in starts}
        beside = [r for r in free if r == len(rows) - 1 and any(other.key in siblings for other in rows[r])]
        beside += [r for r in free if all(_same_kind(part, other) for other in rows[r])]
        if not beside:
            rows.append([])
        row_of[part.key] = beside[0] if beside else len(rows) - 1
        rows[row_of[part.key]].append(part)
    return rows


def _fits(part, row, least_width):
    """Whether a row has room for one more part, and is in the same containers."""
    columns = len(row) + 1
    if columns > MOST or columns * max(map(least_width, [part, *row])) > NARROW:
        return False
    ends = ("input", "output")
    return not any(
        other.inside
        or part.inside
        or other.frames != part.frames
        or (other.role in ends) != (part.role in ends)
        for other in row
    )


def _same_kind(part, other):
    return part.role == other.role and (
        part.kind == other.kind if part.kind else part.role != "join" or part.name == other.name
    )


def lanes_of(far, row_of):
    """A lane for each arrow that passes rows, one for all arrows to a part, short ones inside; and the number of lanes."""
    spans = {}
    for a in far:
        low, high = sorted((row_of[a.start], row_of[a.end]))
        before = spans.get(a.end, (low, high))
        spans[a.end] = (min(low, before[0]), max(high, before[1]))
    taken = []
    lane_of = {}
    for end, (low, high) in sorted(spans.items(), key=lambda item: item[1][1] - item[1][0]):
        lane = next((i for i, used in enumerate(taken) if all(high <= a or b <= low for a, b in used)), None)
        if lane is None:
            lane = len(taken)
            taken.append([])
        taken[lane].append((low, high))
        lane_of[end] = lane
    return {a: lane_of[a.end] for a in far}, len(taken)


def spans_of(diagram, rows):
    """First and last row of each container that has no foreign part between its rows; outer containers first."""
    found = {}
    for path in sorted(diagram.frames, key=len):
        held = [r for r, row in enumerate(rows) if any(path in part.frames for part in row)]
        within = [part for row in rows[held[0] : held[-1] + 1] for part in row] if held else []
        if len(within) > 1 and all(path in part.frames or part.role == "join" for part in within):
            found[path] = (held[0], held[-1])
    return found
