"""The laws of dino_loss and update_centre: a student learns from its teacher's answers to other views.

Not here: the moving average that makes the teacher (averaging.py), the views.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, distinct, integer, normals, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import gradient_values, values

VIEWS, SHARP, CENTRED = "A/102-multi-crop", "A/101-temperature-softmax", "A/100-centring-and-cross-entropy"
LOSS = r"L = \frac{1}{2V - 2} \sum_{i=1}^{2} \sum_{v \ne i} \frac1B \sum_b -P_t^{ib} \cdot \log P_s^{vb}"
TEACHER = r"P_t = \mathrm{softmax}\big((t - c) / \tau_t\big)"
STUDENT = r"P_s = \mathrm{softmax}(s / \tau_s)"
CENTRE = r"c \leftarrow m\, c + (1 - m) \frac1n \sum_i t_i"


def _log_softmax(x):
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _dino_loss(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    B = len(student) // crops
    K = student.shape[1]
    targets = np.exp(_log_softmax((teacher - centre) / teacher_temp)).reshape(2, B, K)
    logs = _log_softmax(student / student_temp).reshape(crops, B, K)
    wanted = np.zeros_like(logs)  # for each view the sum of the teacher's answers to the others
    for i in range(2):
        for v in range(crops):
            if v != i:
                wanted[v] += targets[i]
    terms = B * (2 * crops - 2)
    loss = -(wanted * logs).sum() / terms

    def vjp(g):
        slope = np.exp(logs) * wanted.sum(axis=-1, keepdims=True) - wanted
        return (g * slope.reshape(student.shape) / (terms * student_temp),)

    return loss, vjp


dino_loss = Family(
    "dino_loss",
    _dino_loss,
    ("student",),
    form="f(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04); student (crops * B, K): scores of all views, "
    "view after view; teacher (2 * B, K): scores of the first two; centre (K,) -> a number; with vjp=True the gradient is "
    "student's alone",
)


def _update_centre(centre, teacher, momentum=0.9):
    return momentum * centre + (1 - momentum) * teacher.mean(axis=0), None


update_centre = Family(
    "update_centre",
    _update_centre,
    ("centre", "teacher"),
    form="f(centre, teacher, momentum=0.9); centre (K,), teacher (n, K): scores, without softmax -> the new centre (K,)",
)


def _number(f, case, atol=2e-5):
    """Compare the single number, whatever its shape."""
    compare(np.asarray(f(case)).reshape(()), f.right(case), atol=atol)


dino_loss.same = _number  # the law "shape" checks the shape


# Unless a law is about it: one picture, all views answered alike, a teacher that is sure, a centre of zeros, default
# temperatures, small scores


def _sure(draw, rows, K, spacing=2.0):
    """Scores of a teacher that gives nearly everything to one answer."""
    return np.stack([distinct(draw, (K,), spacing) for _ in range(rows)])


def _call(draw, crops, student, teacher, **options):
    return {"student": student, "teacher": teacher, "centre": np.zeros(student.shape[1], np.float32), "crops": crops, **options}  # fmt: skip


def _alike(draw, crops=None, **options):
    crops = integer(draw, 2, 4) if crops is None else crops
    K = integer(draw, 2, 4)
    student = normals(draw, (1, K))
    teacher = _sure(draw, 1, K, 4.0)
    return _call(draw, crops, student.repeat(crops, 0), teacher.repeat(2, 0), **options)


def _with_centre(draw):
    case = _alike(draw)
    return {**case, "centre": normals(draw, case["centre"].shape).round(1)}


def _two_views(draw):
    K = integer(draw, 2, 4)
    return _call(draw, 2, normals(draw, (2, K)), _sure(draw, 2, K))


def _small_views(draw):
    K, crops = integer(draw, 2, 4), integer(draw, 3, 6)
    large = normals(draw, (1, K)).repeat(2, 0)
    small = normals(draw, (crops - 2, K))
    return _call(draw, crops, np.concatenate([large, small]), _sure(draw, 1, K).repeat(2, 0))


def _same_pictures(draw):
    case = _alike(draw)
    B = integer(draw, 2, 4)
    return {**case, "student": case["student"].repeat(B, 0), "teacher": case["teacher"].repeat(B, 0)}


def _pictures(draw):
    K, B, crops = integer(draw, 2, 4), integer(draw, 2, 3), integer(draw, 2, 4)
    return _call(draw, crops, normals(draw, (crops * B, K)), _sure(draw, 2 * B, K))


def _uniform(draw):
    K, crops = integer(draw, 2, 6), integer(draw, 2, 4)
    level = np.float32(choose(draw, 0.0, 1.0, -2.0))
    return _call(draw, crops, np.full((crops, K), level), np.full((2, K), level))


def _unsure(draw):
    K = integer(draw, 2, 4)
    teacher = (normals(draw, (1, K)) * np.float32(0.05)).repeat(2, 0)
    return _call(draw, 2, normals(draw, (1, K)).repeat(2, 0), teacher)


def _large(draw):
    K = integer(draw, 2, 4)
    student = distinct(draw, (1, K), choose(draw, 20.0, 60.0))
    return _call(draw, 2, student.repeat(2, 0), _sure(draw, 1, K).repeat(2, 0))


def _one_each(draw):
    return _alike(draw, 2)


def _simplest(draw):
    K = integer(draw, 2, 4)
    return _call(draw, 2, normals(draw, (2, K)), normals(draw, (2, K)))


def _anything(draw, scales=(1, 0.3, 30)):
    K, B, crops = integer(draw, 1, 6), integer(draw, 1, 4), integer(draw, 2, 6)
    scale = choose(draw, *scales)
    student = normals(draw, (crops * B, K), scale)
    teacher = normals(draw, (2 * B, K), choose(draw, 1, 0.1))
    options = {
        "student_temp": choose(draw, 0.1, 0.1, 0.5, 1.0),
        "teacher_temp": choose(draw, 0.04, 0.04, 0.07, 0.5),
    }
    options = without_defaults(options, student_temp=0.1, teacher_temp=0.04)
    return {**_call(draw, crops, student, teacher, **options), "centre": normals(draw, (K,))}


def _moderate(draw):
    return _anything(draw, scales=(1, 0.3))


def _changed(change):
    """A mutant: the right answer after ``change(call)``, which changes the arguments by name."""

    def mutant(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
        call = {"student": student, "teacher": teacher, "centre": centre, "crops": crops}
        call |= {"student_temp": student_temp, "teacher_temp": teacher_temp}
        return _dino_loss(**{**call, **change(call)})[0]

    return mutant


def _terms(chosen, count=None):
    """A mutant with other pairs: ``chosen(i, v)`` says which, and ``count(crops)`` by how many their sum is divided."""

    def mutant(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
        K = student.shape[1]
        targets = np.exp(_log_softmax((teacher - centre) / teacher_temp)).reshape(2, -1, K)
        logs = _log_softmax(student / student_temp).reshape(crops, -1, K)
        found = [
            -(targets[i] * logs[v]).sum(axis=-1).mean()
            for i in range(2)
            for v in range(crops)
            if chosen(i, v)
        ]
        total = np.sum(found, dtype=student.dtype)
        return total / (len(found) if count is None else count(crops))

    return mutant


def _by_picture(call):
    """The rows taken as picture after picture."""
    K = call["student"].shape[1]
    crops = call["crops"]

    def turned(x, views):
        return x.reshape(-1, views, K).transpose(1, 0, 2).reshape(x.shape)

    return {"student": turned(call["student"], crops), "teacher": turned(call["teacher"], 2)}


def _entropy(call):
    """The mean entropy of the teacher's answers."""
    logs = _log_softmax((call["teacher"] - call["centre"]) / call["teacher_temp"])
    return -(np.exp(logs) * logs).sum(axis=-1).mean()


def _divergence(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    right = _dino_loss(student, teacher, centre, crops, student_temp, teacher_temp)[0]
    return right - _entropy({"teacher": teacher, "centre": centre, "teacher_temp": teacher_temp})


def _log_of_softmax(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    K = student.shape[1]
    targets = np.exp(_log_softmax((teacher - centre) / teacher_temp)).reshape(2, -1, K)
    logs = np.log(np.exp(_log_softmax(student / student_temp))).reshape(crops, -1, K)
    wanted = np.stack([targets.sum(axis=0) - (targets[v] if v < 2 else 0) for v in range(crops)])
    return -(wanted * logs).sum() / (logs.shape[1] * (2 * crops - 2))


def _mean_answers(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    """The mean over the pictures taken before the product."""
    K = student.shape[1]
    targets = (
        np.exp(_log_softmax((teacher - centre) / teacher_temp)).reshape(2, -1, K).mean(axis=1, keepdims=True)
    )
    logs = _log_softmax(student / student_temp).reshape(crops, -1, K).mean(axis=1, keepdims=True)
    wanted = np.stack([targets.sum(axis=0) - (targets[v] if v < 2 else 0) for v in range(crops)])
    return -(wanted * logs).sum() / (2 * crops - 2)


_centred_student = _changed(lambda call: {"student": call["student"] - call["centre"]})
_not_centred = _changed(lambda call: {"centre": np.zeros_like(call["centre"])})
_same_temperature = _changed(lambda call: {"teacher_temp": call["student_temp"]})
_fixed_temperature = _changed(lambda call: {"student_temp": 0.1})
_skipped_another = _terms(lambda i, v: v != 1 - i)
_large_only = _terms(lambda i, v: v == 1 - i)
_same_too = _terms(lambda i, v: True)


def _student_as_target(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    K = student.shape[1]
    targets = _log_softmax((teacher - centre) / teacher_temp).reshape(2, -1, K)
    answers = np.exp(_log_softmax(student / student_temp)).reshape(crops, -1, K)
    found = [-(answers[v] * targets[i]).sum(axis=-1).mean() for i in range(2) for v in range(crops) if v != i]
    return np.mean(found, dtype=student.dtype)


def _summed(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    B = len(student) // crops
    return _dino_loss(student, teacher, centre, crops, student_temp, teacher_temp)[0] * B


@dino_loss.law(
    "only the teacher is centred",
    inputs=_with_centre,
    equation=TEACHER,
    slide=CENTRED,
    hint="The centre is subtracted from the teacher's scores; the student's stay as they are.",
    mutant=_centred_student,
)
def _shifted(f, case):
    """Adding one vector to all scores of the teacher and to the centre changes nothing."""
    by = np.arange(len(case["centre"]), dtype=np.float32) - 1
    other = case.replace(teacher=case["teacher"] + by, centre=case["centre"] + by)
    compare(f(other), f(case).astype(np.float64), what="The loss with a shifted teacher and centre")


dino_loss.agrees(
    "never the same view",
    "The teacher's answer to a view is compared with the student's answers to the other views.",
    inputs=_two_views,
    equation=LOSS,
    slide=VIEWS,
    hint="With two views there are two terms: the teacher's first with the student's second, and its second with the "
    "student's first.",
    mutant=_skipped_another,
)
dino_loss.agrees(
    "small views count too",
    "Each of the teacher's answers is compared with the student's answers to all small views.",
    inputs=_small_views,
    equation=LOSS,
    slide=VIEWS,
    hint="With V views there are 2 V - 2 terms, 18 for 2 + 8 views; the loss is their mean.",
    mutant=_large_only,
)
dino_loss.agrees(
    "a mean over the pictures",
    "Each term is a mean over the pictures of the batch.",
    inputs=_same_pictures,
    equation=LOSS,
    hint="The same picture twice costs as much as once: divide by the number of pictures B, len(student) / crops.",
    mutant=_summed,
)


@dino_loss.law(
    "view after view",
    inputs=_pictures,
    equation=LOSS,
    hint="The rows are those of the first view, all pictures, then those of the second: reshape(crops, B, K), not (B, crops, "
    "K).",
    mutant=_changed(_by_picture),
    right_too=False,
)
def _permuted(f, case):
    """Another order of the pictures, the same in all views, changes nothing."""
    K = case["student"].shape[1]
    B = len(case["teacher"]) // 2
    student, teacher = (
        np.roll(case[n].reshape(-1, B, K), 1, axis=1).reshape(-1, K) for n in ("student", "teacher")
    )
    other = f(case.replace(student=student, teacher=teacher))
    compare(other, f(case).astype(np.float64), what="The loss of the pictures in another order")


dino_loss.agrees(
    "two answers that say nothing cost log K",
    "If all scores are equal, both answers are uniform, and the loss is the logarithm of K.",
    inputs=_uniform,
    value=False,
    equation=r"P_t = P_s = 1 / K \;\Rightarrow\; L = \log K",
    slide="A/103-avoiding-collapse",
    hint="The loss is a cross-entropy, -sum P_t log P_s, and not the divergence sum P_t log(P_t / P_s): nothing is subtracted.",
    mutant=_divergence,
)


def _scaled(name, *scores):
    """Check that some scores and their temperature, all multiplied by one number, change nothing."""

    def check(f, case):
        factor = 2.0
        changed = {n: case[n] * np.float32(factor) for n in scores}
        default = 0.1 if name == "student_temp" else 0.04
        other = case.replace(**changed, **{name: default * factor})
        compare(f(other), f(case).astype(np.float64), what=f"The loss with twice the scores and twice {name}")

    return check


dino_loss.law(
    "the teacher has a temperature of its own",
    sentence="Twice the teacher's scores, the centre and teacher_temp change nothing.",
    inputs=_unsure,
    equation=TEACHER,
    slide=SHARP,
    hint="The teacher's scores are divided by teacher_temp, which is lower than student_temp: its answers are sharper.",
    mutant=_same_temperature,
    right_too=False,
)(_scaled("teacher_temp", "teacher", "centre"))
dino_loss.law(
    "the student has a temperature of its own",
    sentence="Twice the student's scores and student_temp change nothing.",
    inputs=_alike,
    equation=STUDENT,
    slide=SHARP,
    hint="The student's scores are divided by student_temp, whatever it is.",
    mutant=_fixed_temperature,
    right_too=False,
)(_scaled("student_temp", "student"))
dino_loss.agrees(
    "scores of any size",
    "An answer that the student excludes costs much, but not infinitely much.",
    inputs=_large,
    equation=r"\log P_s = s / \tau_s - \log \textstyle\sum_k e^{s_k / \tau_s}",
    hint="Where P_s is 0 in float32, its logarithm is -inf. Compute the logarithm of the softmax directly, with the maximum "
    "subtracted.",
    mutant=lambda *args, **options: _quiet(_log_of_softmax, *args, **options),
)


def _quiet(function, *args, **options):
    with np.errstate(all="ignore"):
        return function(*args, **options)


every_family(
    dino_loss,
    inputs=_alike,
    shapes=_one_each,
    wrong_shape=lambda *args, **options: np.array([_dino_loss(*args, **options)[0]]),
    shape_equation=r"L \in \mathbb R",
    shape_hint="A loss is one number: shape (), not (1,) nor one for each picture.",
)
values(
    dino_loss,
    simplest=_simplest,
    words="two views of one picture, a centre of zeros",
    anything=_anything,
    hint="Multiply for each picture and take the mean over the pictures then: the mean of products is not the product of means.",
    mutant=_mean_answers,
)
for name, hint, answer in (
    (
        "the same view too",
        "You compare views with themselves too: 2 V terms. For those the student only has to copy: leave them out.",
        _same_too,
    ),
    (
        "divided by all pairs",
        "The sum is right, but you divide it by 2 V. There are 2 V - 2 terms.",
        _terms(lambda i, v: v != i, lambda crops: 2 * crops),
    ),
    ("the small views left out", "Only the two large views are compared. The small ones are the student's task too.", _large_only),
    ("the wrong view left out", "You leave out the other large view and compare a view with itself.", _skipped_another),
    ("the student centred too", "You subtract the centre from the student's scores too. Only the teacher is centred.", _centred_student),
    ("no centre", "The centre is not subtracted from the teacher's scores.", _not_centred),
    (
        "the centre added",
        "You add the centre. Subtract it: what all pictures have in common should count less.",
        _changed(lambda call: {"centre": -call["centre"]}),
    ),
    (
        "the centre subtracted after the temperature",
        "You divide by teacher_temp first. The centre is a mean of scores: subtract it first, then divide.",
        _changed(lambda call: {"centre": call["centre"] * np.float32(call["teacher_temp"])}),
    ),
    ("one temperature for both", "You divide both by student_temp. The teacher has teacher_temp.", _same_temperature),
    (
        "the temperatures swapped",
        "The temperatures are the wrong way around: the teacher has the lower one.",
        _changed(lambda call: {"teacher_temp": call["student_temp"], "student_temp": call["teacher_temp"]}),
    ),
    (
        "multiplied by the temperature",
        "Scores are divided by the temperature: a low one makes the answer sharp.",
        _changed(lambda call: {"student_temp": 1 / call["student_temp"], "teacher_temp": 1 / call["teacher_temp"]}),
    ),
    ("the divergence", "This is the divergence of the two answers. The loss is their cross-entropy.", _divergence),
    ("a sum over the pictures", "Divide by the number of pictures too.", _summed),
    (
        "a mean over the answers",
        "You take the mean over the K answers. A cross-entropy is the sum over them.",
        lambda student, *args, **options: _dino_loss(student, *args, **options)[0] / student.shape[1],
    ),
    ("picture after picture", "The rows are view after view: reshape(crops, B, K).", _changed(_by_picture)),
    ("the mean answer", "You take the mean over the pictures before the product.", _mean_answers),
    (
        "the terms added up",
        "You add up the terms. The loss is their mean: divide by their number, 2 V - 2.",
        _terms(lambda i, v: v != i, lambda crops: 1),
    ),
    (
        "the student as the target",
        "You weight the logarithms of the teacher's answers by the student's. The teacher's answer is the target: "
        "-P_t log P_s.",
        _student_as_target,
    ),
):  # fmt: skip
    dino_loss.mistake(name, hint, answer)


def _without_temperature(g, pulled, args, options):
    return (pulled[0] * np.float32(options.get("student_temp", 0.1)),)


def _not_divided_by_pictures(g, pulled, args, options):
    return (pulled[0] * np.float32(len(args[0]) // args[3]),)


gradients(
    dino_loss,
    inputs=_alike,
    slide="A/103-avoiding-collapse",
    equation={
        "student": r"\bar s^{vb} = \frac{g}{B (2V - 2)\, \tau_s} \sum_{i \ne v} \big(P_s^{vb} - P_t^{ib}\big)"
    },
    hints={
        "student": "The gradient of a cross-entropy by the scores is the student's answer minus the teacher's, for each term; and "
        "the scores were divided by student_temp."
    },
    mutants={"student": backward(_dino_loss, _without_temperature)},
)
gradient_values(
    dino_loss,
    simplest=_simplest,
    words="two views of one picture, a centre of zeros",
    anything=_moderate,
    hint="The loss is a mean over pictures and terms, so the gradient has the same 1 / (B (2 V - 2)).",
    mutant=backward(_dino_loss, _not_divided_by_pictures),
)
dino_loss.mistake(
    "the temperature left out of the gradient",
    "The scores were divided by student_temp before the softmax: the gradient is divided by it too.",
    backward(_dino_loss, _without_temperature),
    gradient=True,
)


# ---------------------------------------------------------------------------------------------------------------------
# update_centre. Unless a law is about it: one answer, the same score in all places, momentum 0.5


def _centre(draw, n=1, momentum=0.5, different=False):
    K = integer(draw, 2, 4)
    teacher = normals(draw, (n, K if different else 1))
    return {
        "centre": normals(draw, (K,)),
        "teacher": np.broadcast_to(teacher, (n, K)).copy(),
        "momentum": momentum,
    }


def _any_centre(draw):
    K, n = integer(draw, 1, 6), integer(draw, 1, 9)
    scale = choose(draw, 1, 0.1, 20)
    momentum = choose(draw, 0.9, 0.9, 0.0, 1.0, 0.5, 0.99)
    call = {"centre": normals(draw, (K,), scale), "teacher": normals(draw, (n, K), scale)}
    return {**call, **without_defaults({"momentum": momentum}, momentum=0.9)}


def _moved(change):
    """A mutant: ``change(centre, teacher, momentum)``."""
    return lambda centre, teacher, momentum=0.9: change(centre, teacher, momentum)


_swapped = _moved(lambda c, t, m: (1 - m) * c + m * t.mean(axis=0))
_sum = _moved(lambda c, t, m: m * c + (1 - m) * t.sum(axis=0))
_one_number = _moved(lambda c, t, m: m * c + (1 - m) * t.mean())
_median = _moved(lambda c, t, m: m * c + (1 - m) * np.median(t, axis=0).astype(t.dtype))

update_centre.agrees(
    "momentum is what stays",
    "With momentum 1 nothing changes, with 0 only the new batch counts.",
    inputs=lambda draw: _centre(draw, momentum=choose(draw, 1.0, 0.75, 0.0)),
    equation=CENTRE,
    slide=CENTRED,
    hint="momentum multiplies the old centre, 1 - momentum the mean of the batch.",
    mutant=_swapped,
)
update_centre.agrees(
    "the mean of the batch",
    "The centre moves towards the mean of the teacher's answers, however many there are.",
    inputs=lambda draw: _centre(draw, n=2),
    equation=CENTRE,
    slide=CENTRED,
    hint="Divide the sum over the answers by their number: teacher.mean(axis=0).",
    mutant=_sum,
)
update_centre.agrees(
    "a centre for each score",
    "Each of the K scores has its own mean.",
    inputs=lambda draw: _centre(draw, different=True),
    equation=r"c_k \leftarrow m\, c_k + (1 - m) \frac1n \sum_i t_{ik}",
    slide=CENTRED,
    hint="The mean is taken over the answers, axis 0, and not over the scores too.",
    mutant=_one_number,
)
every_family(
    update_centre,
    inputs=_centre,
    shapes=lambda draw: {
        "centre": normals(draw, (1,)),
        "teacher": normals(draw, (1, 1)),
        "momentum": 0.5,
    },
    shape_equation=r"c \in \mathbb R^K",
    shape_hint="The new centre has the shape (K,) of the old one, also if K is 1.",
)
values(
    update_centre,
    simplest=lambda draw: {"centre": np.zeros(3, np.float32), "teacher": normals(draw, (2, 3))},
    words="two answers, a centre of zeros",
    anything=_any_centre,
    hint="The mean of three or more answers: each counts the same.",
    mutant=_median,
)
for name, hint, answer in (
    ("momentum of the new mean", "momentum multiplies the new mean: it belongs to the old centre.", _swapped),
    ("the sum for the mean", "This adds the sum of the answers: divide it by their number.", _sum),
    ("one mean for all scores", "You take one mean over everything: a centre has K numbers.", _one_number),
    (
        "the old centre forgotten",
        "This is the mean of the batch alone: one batch is too small, so the old centre keeps its share.",
        _moved(lambda c, t, m: t.mean(axis=0)),
    ),
    (
        "the mean added",
        "The new mean is added to the whole old centre, which grows without end: the old one has the factor momentum.",
        _moved(lambda c, t, m: c + (1 - m) * t.mean(axis=0)),
    ),
    (
        "the mean of probabilities",
        "The centre is a mean of scores. You apply a softmax first.",
        _moved(lambda c, t, m: m * c + (1 - m) * np.exp(_log_softmax(t)).mean(axis=0)),
    ),
    (
        "already centred",
        "You subtract the old centre from the scores first. The mean is of the teacher's scores as they are.",
        _moved(lambda c, t, m: m * c + (1 - m) * (t - c).mean(axis=0)),
    ),
    ("the median", "This is the median of the answers: take their mean.", _median),
):
    update_centre.mistake(name, hint, answer)
