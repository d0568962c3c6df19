"""The command line: `python -m skipcore ask …`, `… calibrate …` and `… finetune …`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from skipcore import command_line
from skipcore.answering.chat import Chat
from skipcore.calibration.calibrate import calibrate
from skipcore.calibration.choice import CALIBRATION_FILE, Calibration
from skipcore.errors import InputError
from skipcore.finetune import flags
from skipcore.methods import Dense
from skipcore.model.load import load

PICTURE_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status (see `skipcore.command_line`; 2 for bad input)."""
    return command_line.run_subcommand(_parser(), arguments)


def _ask(options: argparse.Namespace) -> int:
    vlm = load(options.model, calibration=options.calibration)
    chat = Chat(vlm, options.image, Dense() if options.dense else vlm.skipping)
    print(f"{vlm.name}, {chat.method.label}")
    for question in options.question:
        print(f"\n{question}")
        milliseconds: list[float] = []
        for token in chat.ask(question, options.max_new_tokens):
            print(token.text if milliseconds else token.text.lstrip(), end="", flush=True)
            milliseconds.append(token.seconds * 1000)
        print(
            f"\n[first token {milliseconds[0]:,.1f} ms after the encoded picture; "
            f"{chat.reused:,} tokens not read again ({chat.kv_tokens:,.0f} held in the KV cache)]"
        )
    return 0


def _calibrate(options: argparse.Namespace) -> int:
    output = Path(options.output)
    command_line.check_folder(output)
    if output.is_dir():
        raise InputError(f"{str(output)!r} is a folder: name a file in it, such as {str(output / CALIBRATION_FILE)!r}.")
    pictures = [picture for path in options.pictures for picture in _picture_files(Path(path))]
    questions = options.question if len(options.question) > 1 else options.question[0]
    vlm = load(options.model)
    record = output.with_suffix(".measurements.jsonl")
    with tqdm(unit="measurement", disable=None) as bar:

        def tell(what: str, done: int, most: int) -> None:
            bar.set_description(what)
            bar.total = most
            bar.update(done - bar.n)

        calibration = calibrate(
            vlm, pictures, questions, options.target, options.kv_target, record=record, progress=tell
        )
    calibration.save(output)
    record.unlink()
    print(table_of(calibration))
    print(f"\nWritten to {output}. Use it with load({options.model!r}, calibration={str(output)!r}),")
    print(f"or with `python -m app --model {options.model} --calibration {output}`.")
    return 0


def table_of(calibration: Calibration) -> str:
    """The measurements as text."""
    lines = [
        f"{calibration.model}: {calibration.pictures} questions, {calibration.positions} next-token distributions",
        "",
        "Skipped alone     KL of FFN   KL of attention   FFN update",
    ]
    rows = zip(calibration.ffn_kl, calibration.attention_kl, calibration.ffn_update, strict=True)
    lines += [
        f"layer {layer:<6} {ffn:14.5f} {attention:17.5f} {update:12.3f}"
        for layer, (ffn, attention, update) in enumerate(rows)
    ]
    lines += ["", f"{'Choice':<11} {'FLOPs':>7} {'KV':>7} {'KL':>10} {'same top-1':>11}   Method"]
    for choice in (calibration.choice, *calibration.rivals):
        figures = f"{choice.flops:7.1%} {choice.kv:7.1%} {choice.kl:10.5f} {choice.top1:11.1%}"
        lines.append(f"{choice.name:<11} {figures}   {choice.label}")
    if calibration.choice.layers or calibration.choice.attention_layers:
        layers = calibration.choice.layers, calibration.choice.attention_layers
        ffn, attention = (" ".join(map(str, each)) or "none" for each in layers)
        lines += ["", f"FFN skipped in layers {ffn}; attention skipped in layers {attention}."]
    return "\n".join(lines)


def _picture_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURE_ENDINGS)
    if not found:
        raise InputError(f"There is no picture in the folder {str(path)!r}.")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m skipcore", description="Skip-Vision on transformers models.")
    commands = parser.add_subparsers(required=True, metavar="command")
    chat = commands.add_parser("ask", help="questions about a picture, one after the other over one KV cache")
    chat.add_argument("--model", required=True, help="model folder or Hub id")
    chat.add_argument("--calibration", help="what `calibrate` wrote for the model")
    chat.add_argument("--image", required=True, nargs="+", help="picture files")
    chat.add_argument("--question", required=True, nargs="+")
    chat.add_argument("--dense", action="store_true", help="without skipping")
    chat.add_argument("--max-new-tokens", type=int, default=64)
    chat.set_defaults(run=_ask)

    one = commands.add_parser("calibrate", help="measure which layers a model may skip, on your own pictures")
    one.add_argument("--model", required=True, help="model folder or Hub id")
    one.add_argument("--pictures", required=True, nargs="+", help="picture files, or folders of them")
    one.add_argument(
        "--question", nargs="+", default=["Describe the picture."], help="one for all pictures, or one for each"
    )
    one.add_argument("--target", type=float, default=0.5, help="prefill FLOPs wanted, dense = 1 (default 0.5)")
    one.add_argument("--kv-target", type=float, default=0.6, help="KV cache bytes wanted, dense = 1 (default 0.6)")
    one.add_argument("--output", default="calibration.json", help="the file to write (default calibration.json)")
    one.set_defaults(run=_calibrate)

    flags.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
