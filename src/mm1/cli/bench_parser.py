"""What is typed after `mm1 bench`."""

from __future__ import annotations

import argparse

from mm1.cli.options import path


def add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`mm1 bench WHAT`."""
    bench = commands.add_parser("bench", help="measure a part beside its peer, in one run")
    parts = bench.add_subparsers(dest="what", required=True, metavar="WHAT")
    train = parts.add_parser("train", help="training tokens a second beside Hugging Face's Llava")
    train.add_argument("--steps", type=int, default=8, help="training steps a repetition")
    train.add_argument("--device", default=None, help="cpu or cuda; cuda where there is one")
    plan = parts.add_parser("plan", help="what the plan of 10^5 to 10^9 documents costs")
    plan.add_argument("--counted", type=int, default=200_000, help="documents of each source counted, not reckoned")
    plan.add_argument("--processes", type=int, default=1, help="that count side by side")
    plan.add_argument("--curve", type=path, help="also draw the costs over the documents, as an SVG")
    step = parts.add_parser("step", help="what `mm1 plan --gpu cpu` says beside what a step takes here")
    step.add_argument("--shapes", default="", metavar="NAME,…", help="some of the models (all)")
    scaling = parts.add_parser("scaling", help="the same work a process for 1, 2, … processes; seconds to a first step")
    scaling.add_argument("--processes", default="1,2", metavar="N,…", help="how many train together (1,2)")
    scaling.add_argument("--steps", type=int, default=20, help="training steps a repetition")
    dealing = parts.add_parser("dealing", help="how much ranks compute and wait beyond what documents need")
    dealing.add_argument("--recipes", default="mm1-3b,mm1-30b", metavar="NAME,…", help="whose pretraining")
    dealing.add_argument("--ranks", default="8,64,256,512", metavar="N,…", help="among how many a step is dealt")
    dealing.add_argument("--rows-at-once", default="1,2", metavar="N,…", help="rows of a microbatch")
    geometry = parts.add_parser("geometry", help="models of real size for some steps, interrupted in the middle")
    geometry.add_argument("names", metavar="NAME,…", help="mm1-3b, llama-8b-12, experts-8, experts-8-dense, small")
    geometry.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to every stage")
    geometry.add_argument("--steps", type=int, default=60, help="of each, half of them before the interruption")
    geometry.add_argument("--device", default=None, help="cpu or cuda; cuda where there is one")
    geometry.add_argument("--folder", type=path, help="where checkpoints lie meanwhile: 59 GB for mm1-3b")
    generate = parts.add_parser("generate", help="few-shot evaluation beside transformers' generate, same weights")
    generate.add_argument("--model", choices=["small", "tiny"], default="small", help="its shape; weights are random")
    generate.add_argument("--questions", type=int, default=64, help="prompts a repetition")
    generate.add_argument("--shots", type=int, default=8, help="examples that all prompts begin with")
    generate.add_argument("--device", default=None, help="cpu or cuda; cuda where there is one")
    data = parts.add_parser("data", help="packed batches a second beside webdataset and grain; JPEGs beside Pillow")
    data.add_argument("--documents", type=int, default=300, help="captioned photos in each repetition")
    curate = parts.add_parser("curate", help="pages a second beside trafilatura, and what each step of curation takes")
    curate.add_argument("sources", nargs="+", type=path, metavar="SOURCE", help="WARC files, folders of HTML")
    curate.add_argument("--pages", type=int, default=500, help="of which only the HTML is read; the pipeline takes all")
    for part in parts.choices.values():
        part.add_argument("--repetitions", type=int, default=5, help="alternating repetitions; medians are printed")
        part.add_argument("--out", type=path, help="also write the figures as JSON to this file")
        part.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
