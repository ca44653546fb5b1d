"""Commands that look: what they say of a run, and that they leave it as it is."""

from pathlib import Path

from popgrad.record.lineage import schedule
from popgrad.runs.api import load, run
from popgrad.strategies import STRATEGIES, pbt
from popgrad.tasks.reference import resolve_task
from program import SMALL, Done, contents, popgrad, readings, refused


def test_show_says_again_what_run_said(finished: Path) -> None:
    ran = popgrad("run", "quadratic", *SMALL, "--no-test", "--dir", "again")
    status, _, shown = popgrad("show", str(finished)).out.partition("\n")
    assert status == "finished 3 of 3 intervals"
    assert ran.out.startswith(shown)


def test_the_tree_has_every_member_as_text_and_as_json(finished: Path) -> None:
    done = popgrad("show", str(finished), "--tree")
    assert done.code == 0
    assert done.out.startswith("finished 3 of 3 intervals\n")
    assert done.out.count("present") + done.out.count(" winner ") >= 4
    data = popgrad("show", str(finished), "--tree", "--json").json
    assert data["directory"] == str(finished)
    assert data["winner"] == [load(finished).winner.member, 2]
    assert (data["metric"], data["direction"]) == ("q", "maximize")
    whole = popgrad("show", str(finished), "--tree", "--all", "--json").json
    assert whole["left_out"] == {"branches": 0, "segments": 0}
    assert len(whole["founders"]) == 4
    assert "--watch, --tree: given both" in refused("show", str(finished), "--tree", "--watch")
    assert "--watch, --json: given both" in refused("show", str(finished), "--watch", "--json")


def test_timings_say_where_the_time_went(finished: Path) -> None:
    done = popgrad("show", str(finished), "--timings")
    assert done.code == 0
    assert done.out.startswith("finished 3 of 3 intervals\n1 worker ")
    assert "in the task: starting, training, evaluating" in done.out
    assert "training, or waiting for workers" in done.out
    data = popgrad("show", str(finished), "--timings", "--json").json
    assert (data["directory"], data["workers"]) == (str(finished), 1)
    assert 0 < data["task"] < data["controller"]["training"]
    assert "--watch, --timings: given both" in refused(
        "show", str(finished), "--timings", "--watch"
    )
    assert "--tree, --timings: given both" in refused("show", str(finished), "--timings", "--tree")


def test_members_that_rest_are_marked() -> None:
    small = ("--population", "9", "--intervals", "4", "--interval", "1", "--executor", "serial")
    popgrad("run", "quadratic", *small, "--strategy", "successive-halving", "--dir", "here")
    lines = popgrad("show", "here").out.splitlines()
    resting = [line.split()[0] for line in lines if line.rstrip().endswith("rests")]
    population = popgrad("show", "here", "--json").json["population"]
    assert resting == sorted(
        (str(each["member"]) for each in population if each.get("rests")), key=resting.index
    )
    assert 0 < len(resting) < 9
    assert "rests" in popgrad("show", "here", "--tree", "--all").out
    popgrad("run", "quadratic", *small, "--dir", "there")
    assert "rests" not in popgrad("show", "there").out


def test_schedule_prints_the_table_of_show(finished: Path) -> None:
    done = popgrad("schedule", str(finished))
    assert done.code == 0
    _, _, table = done.out.rstrip().partition("Schedule")
    assert "0.." in table
    assert table in popgrad("show", str(finished)).out


def test_schedule_prints_exactly_what_is_read_back(finished: Path) -> None:
    result = load(finished)
    for chosen, whole in (
        ((), result.winner.schedule),
        (("--member", "1"), schedule(result.lineage(1))),
    ):
        for merging, wanted in (((), whole), (("--merged",), whole.merged())):
            argv = ("schedule", str(finished), *chosen, *merging)
            assert popgrad(*argv, "--csv") == Done(0, wanted.to_csv(), "")
            assert popgrad(*argv, "--json") == Done(0, wanted.to_json(), "")


def test_the_schedule_of_nobody_is_refused() -> None:
    popgrad("run", "toy.py:Failing", *SMALL, "--no-check", "--dir", "here")
    done = popgrad("schedule", "here")
    assert (done.code, done.out) == (1, "")
    assert (
        done.err
        == "popgrad: no member has a finite score in the last interval, so the run has no winner\n"
    )
    assert popgrad("schedule", "here", "--member", "0").code == 0


def test_what_is_only_looked_at_needs_no_code_of_the_task() -> None:
    popgrad("run", "toy.py:Toy", *SMALL, "--dir", "here")
    Path("toy.py").unlink()
    assert popgrad("show", "here").code == 0
    assert popgrad("schedule", "here").code == 0
    assert popgrad("schedule", "here", "--csv").out.startswith("first_step,steps,h\n0,4,")


def test_tasks_names_what_they_search_and_take() -> None:
    lines = [line.rstrip() for line in popgrad("tasks").out.splitlines()]
    assert "  space   lr          log-uniform 0.0001..0.1" in lines
    assert "  option  batch_size  32" in lines


def test_strategies_lists_each_with_its_options() -> None:
    lines = [line.rstrip() for line in popgrad("strategies").out.splitlines()]
    start = lines.index("pbt: " + (pbt.__doc__ or "").partition("\n")[0])
    assert lines[start + 1 : start + 3] == [
        "  option  fraction              0.2",
        "  option  factors               [0.8, 1.25]",
    ]
    listed = popgrad("strategies", "--json").json
    assert listed.keys() == STRATEGIES.keys()
    assert listed["successive-halving"]["options"] == {"eta": 3}
    assert listed["threshold"]["options"]["deviations"] is None


def test_test_reads_the_winner_on_the_test_split() -> None:
    popgrad("run", "toy.py:Toy", *SMALL, "--dir", "here", "--no-test")
    assert popgrad("test", "here").out.startswith("winner, member ")


def test_the_test_split_is_read_as_often_as_the_journal_says() -> None:
    popgrad("run", "toy.py:Toy", *SMALL, "--dir", "here", "--no-test")
    popgrad("show", "here")
    assert readings("here") == []
    popgrad("resume", "here", "--intervals", "4")
    popgrad("test", "here")
    splits = Path("splits.txt").read_text().split()
    assert readings("here") == ["final report", "popgrad test"]
    assert splits.count("test") == 2


def test_a_run_directory_is_left_as_it_is_by_what_only_reads_or_is_refused(finished: Path) -> None:
    before = contents(finished)
    finished.chmod(0o555)
    assert popgrad("show", str(finished)).code == 0
    assert popgrad("schedule", str(finished)).code == 0
    assert "member 9 has no finished segment" in refused("schedule", str(finished), "--member", "9")
    assert f"{finished} holds a run" in refused("run", "quadratic", *SMALL, "--dir", str(finished))
    assert "expected at least 3, which are recorded" in refused(
        "resume", str(finished), "--intervals", "2"
    )
    finished.chmod(0o755)
    assert {**contents(finished), str(finished / "lock"): b""} == {
        **before,
        str(finished / "lock"): b"",
    }


# --- a run that was given an instance --------------------------------------------------------------


def test_a_task_that_python_has_given_is_named_for_later_commands() -> None:
    task = resolve_task("toy.py:ready_made", {})
    run(task, population=2, intervals=1, interval=1, executor="serial", directory="here")
    for argv in (("test", "here"), ("replay", "here"), ("resume", "here", "--intervals", "2")):
        said = refused(*argv)
        assert "started from Python with a task instance (Toy)" in said
        assert "--task file.py:NAME" in said
        assert "popgrad." not in said  # no Python on the command line
        assert popgrad(*argv, "--task", "toy.py:ready_made").code == 0
    assert popgrad("replay", "here", "--fresh-seed", "3", "--task", "toy.py:ready_made").code == 0
    assert "'Missing'" in refused("test", "here", "--task", "toy.py:Missing")
    assert "leave it out" in refused("test", "pretrained:fc", "--task", "toy.py:Toy")


def test_the_advice_repeats_the_task() -> None:
    task = resolve_task("toy.py:ready_made", {})
    run(task, population=2, intervals=1, interval=1, executor="serial", directory="here")
    toy = Path("toy.py")
    toy.write_text(toy.read_text().replace('print("the task says hello")', "1 / 0"))
    argv = ("--intervals", "2", "--allow-changed-task", "--task", "toy.py:Toy")
    done = popgrad("resume", "here", *argv)
    assert done.code == 1
    assert done.err.endswith(
        "correct the task, and continue with: popgrad resume here --task toy.py:Toy --allow-changed-task\n"
    )


def test_a_file_alone_names_its_only_task() -> None:
    done = popgrad("run", "toy.py", *SMALL, "--dir", "here")  # the ready-made one of three
    assert done.code == 0
    assert load("here").config.task == str(Path("toy.py:ready_made").absolute())
    assert popgrad("test", "here").code == 0
    toy = Path("toy.py")
    toy.write_text(toy.read_text().replace("ready_made =", "_hidden ="))
    assert "choose one of toy.py:Toy, toy.py:Failing" in refused("run", "toy.py", *SMALL)
    assert "there is no task file none.py" in refused("run", "none.py")
