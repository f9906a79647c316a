"""experiments/step_by_step.py and its notebook: one source. `python tests/test_step_by_step.py` copies the
script's text into the notebook and drops what differs from run to run; docs/developers.md says how outputs are made."""

import json
import os
import sys

from conftest import ROOT

SCRIPT, NOTEBOOK = (os.path.join(ROOT, "experiments", f"step_by_step.{end}") for end in ("py", "ipynb"))


def script_cells():
    """The script's cells, (kind, text): `# %%` begins one of code, `# %% [markdown]` one of text in comments."""
    with open(SCRIPT, encoding="utf-8") as file:
        before, *parts = ("\n" + file.read()).split("\n# %%")
    assert not before.strip(), "text before the first cell"
    for part in parts:
        head, _, text = part.partition("\n")
        if head.strip() == "[markdown]":
            yield "markdown", "\n".join(line.removeprefix("#").removeprefix(" ") for line in text.strip().split("\n"))
        else:
            yield "code", text.strip()


def notebook():
    with open(NOTEBOOK, encoding="utf-8") as file:
        return json.load(file)


def test_script_and_notebook_have_the_same_source():
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook()["cells"]]
    assert cells == list(script_cells())


def test_it_is_short():
    code = [line for kind, text in script_cells() if kind == "code" for line in text.split("\n")]
    assert sum(bool(line.strip()) and not line.strip().startswith("#") for line in code) <= 150


def test_the_notebook_has_outputs_of_one_run_from_top_to_bottom():
    cells = [cell for cell in notebook()["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    assert all(output["output_type"] in ("stream", "display_data") and output.get("name") != "stderr"
               for output in outputs)


def main():
    changed = notebook()
    cells = list(script_cells())
    if [cell["cell_type"] for cell in changed["cells"]] != [kind for kind, _ in cells]:
        sys.exit("error: cells were added or removed: run the notebook anew, see docs/developers.md")
    for number, (cell, (_, text)) in enumerate(zip(changed["cells"], cells)):
        cell.update(source=text.splitlines(keepends=True), id=f"step-{number:02}", metadata={})
    changed["metadata"].pop("jupytext", None)
    with open(NOTEBOOK, "w", encoding="utf-8") as file:
        json.dump(changed, file, indent=1, ensure_ascii=False)
        file.write("\n")


if __name__ == "__main__":
    main()
