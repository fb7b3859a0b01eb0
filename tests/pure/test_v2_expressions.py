"""Binding expressions of v2 job files: every form, optional parts, mistakes with their places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.azureml_v2.model.expressions import Binding, OptionalPart, Text, parse
from parallelrun_jupyter.azureml_v2.model.places import Place
from parallelrun_jupyter.azureml_v2.model.problems import JobFileError

HERE = Place("a.yml", 3, 7)

FORMS = [
    ("${{inputs.x}}", Binding("input", "x")),
    ("${{ inputs.group.x }}", Binding("input", "group.x")),
    ("${{outputs.y}}", Binding("output", "y")),
    ("${{parent.inputs.x-1}}", Binding("parent_input", "x-1")),
    ("${{parent.outputs.y}}", Binding("parent_output", "y")),
    ("${{parent.jobs.prep.outputs.y}}", Binding("step_output", "y", "prep")),
    ("${{jobs.prep.outputs.y}}", Binding("step_output", "y", "prep")),
    ("${{parent.jobs.prep.inputs.y}}", Binding("step_input", "y", "prep")),
    ("${{name}}", Binding("fact", "name")),
    ("${{default_datastore}}", Binding("fact", "default_datastore")),
]


@pytest.mark.parametrize(("raw", "expected"), FORMS)
def test_every_form_is_read(raw: str, expected: Binding) -> None:
    assert parse(raw).binding == expected
    assert parse(str(expected)).binding == expected


def test_a_text_has_plain_parts_bindings_and_optional_parts() -> None:
    text = parse("a ${{inputs.x}} $[[--n ${{inputs.n}} ]]b [[1, 2]]")
    assert text.parts == (
        "a ",
        Binding("input", "x"),
        " ",
        OptionalPart(("--n ", Binding("input", "n"), " ")),
        "b [[1, 2]]",
    )
    assert text.binding is None
    assert [binding.name for binding in text.bindings()] == ["x", "n"]


def test_an_optional_part_without_a_value_is_left_out() -> None:
    text = parse("python a.py --x ${{inputs.x}} $[[--n ${{inputs.n}}]] --y ${{inputs.y}}")
    values = {"x": "1", "n": None, "y": None}
    assert text.filled(lambda b: values[b.name]) == "python a.py --x 1  --y "
    values["n"] = "7"
    assert text.filled(lambda b: values[b.name]) == "python a.py --x 1 --n 7 --y "


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("${{inptus.x}}", "'${{inptus.x}}' is not an expression. Did you mean 'inputs'?"),
        ("${{inputs}}", "'${{inputs}}' is not an expression."),
        ("${{parent.output.a}}", "'${{parent.output.a}}' is not an expression. Did you mean 'outputs'?"),
        ("${{parent.jobs.a.output.b}}", "'${{parent.jobs.a.output.b}}' is not an expression. Did you mean 'outputs'?"),
        ("${{parnt.inputs.a}}", "'${{parnt.inputs.a}}' is not an expression. Did you mean 'parent'?"),
        ("${{parent.jobs.a.rows}}", "'${{parent.jobs.a.rows}}' is not an expression."),
        ("${{inputs.x}", "'${{inputs.x}' has no '}}'; write ${{inputs.name}}."),
        ("$[[--n ${{inputs.n}}", "'$[[' has no ']]'; write $[[--flag ${{inputs.name}}]]."),
        ("$[[ a $[[ b ]] ]]", "'$[[' is inside of '$[['; close the first one with ']]'."),
    ],
)  # fmt: skip
def test_a_malformed_expression_is_an_error_with_a_remedy(raw: str, message: str) -> None:
    with pytest.raises(JobFileError) as error:
        parse(raw, HERE)
    assert str(error.value).startswith(f"a.yml:3:7: {message}")


def test_every_malformed_expression_is_named() -> None:
    with pytest.raises(JobFileError) as error:
        parse("${{a.b}} ${{inputs.x}} ${{c}}", HERE)
    assert len(error.value.problems) == 2


_PLAIN = st.text(alphabet="ab -=/.\n{}[", max_size=8).filter(
    lambda t: "${" not in t and "$[" not in t
)
_BINDING = st.sampled_from([form for form, _ in FORMS])


@given(st.lists(_PLAIN | _BINDING))
def test_a_text_is_the_sum_of_its_parts(pieces: list[str]) -> None:
    raw = "".join(pieces)
    text: Text = parse(raw)
    again = "".join(part if isinstance(part, str) else str(part) for part in text.parts)
    assert again == raw.replace("${{ inputs.group.x }}", "${{inputs.group.x}}").replace(
        "{{jobs.", "{{parent.jobs."
    )
    assert len(list(text.bindings())) == sum(piece.startswith("${{") for piece in pieces)
