"""The sprite atlas, its table of things and its fonts are whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from skipcore.builtin.scenes import atlas as atlas_module
from skipcore.builtin.scenes.atlas import FOLDER, STYLES, load_atlas
from skipcore.builtin.scenes.fonts import FONTS, font
from skipcore.builtin.scenes.pack import CELL, FILL, fit, pack
from skipcore.builtin.scenes.things import GROUP_PLURALS, THINGS
from skipcore.errors import InputError


def test_atlas_has_every_thing_in_every_style() -> None:
    atlas = load_atlas()
    assert atlas.things == tuple(thing.name for thing in THINGS)
    assert atlas.styles == STYLES
    for thing in THINGS:
        for style in STYLES:
            sprite = atlas.sprite(thing.name, style)
            assert (sprite.mode, sprite.size) == ("RGBA", (CELL, CELL))
            box = sprite.getchannel("A").getbbox()
            assert box is not None, (thing.name, style)
            # Pixels that are almost clear may vanish when the art is made smaller.
            assert FILL - 2 <= max(box[2] - box[0], box[3] - box[1]) <= FILL, (thing.name, style)
            opaque = sum(sprite.getchannel("A").histogram()[128:])
            assert opaque > 0.06 * CELL * CELL, (thing.name, style)


def test_sprites_are_cut_once_and_unknown_ones_are_refused() -> None:
    atlas = load_atlas()
    assert atlas.sprite("dog", "noto") is atlas.sprite("dog", "noto")
    with pytest.raises(InputError, match="no 'unicorn'"):
        atlas.sprite("unicorn", "noto")
    with pytest.raises(InputError, match="no style 'wood'"):
        atlas.sprite("dog", "wood")


def test_no_two_sprites_of_a_style_are_the_same() -> None:
    atlas = load_atlas()
    for style in STYLES:
        assert len({atlas.sprite(thing.name, style).tobytes() for thing in THINGS}) == len(THINGS)


def test_things_are_named_apart() -> None:
    assert len(THINGS) >= 120
    words = [word for thing in THINGS for word in (thing.name, thing.plural)]
    groups = [word for pair in GROUP_PLURALS.items() for word in pair]
    assert len(set(words + groups)) == len(words + groups)
    assert len({thing.codepoint for thing in THINGS}) == len(THINGS)
    assert {thing.group for thing in THINGS} == set(GROUP_PLURALS)
    assert all(word.isascii() and word.isalpha() and word == word.lower() for word in words)
    assert not {"circle", "square", "triangle", "star", "heart", "sign"} & set(words)


def test_plurals_are_spelt_right() -> None:
    irregular = {"scarf": "scarves", "leaf": "leaves"}
    for thing in THINGS:
        name = thing.name
        if name in irregular:
            expected = irregular[name]
        elif name.endswith(("s", "x", "ch", "sh")):
            expected = f"{name}es"
        elif name.endswith("y") and name[-2] not in "aeiou":
            expected = f"{name[:-1]}ies"
        else:
            expected = f"{name}s"
        assert thing.plural == expected


def test_the_folder_is_small_and_licensed() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 12 * 2**20
    for path in [FOLDER / f"LICENSE-{style}.txt" for style in STYLES]:
        assert len(path.read_text(encoding="utf-8")) > 1000
    for name in FONTS:
        assert "SIL OPEN FONT LICENSE" in (FOLDER / "fonts" / f"LICENSE-{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FONTS)
def test_fonts_draw_every_printable_ascii_character(name: str) -> None:
    face = font(name, 24)
    assert font(name, 24) is face
    blank = face.getmask("\ue000")  # what a font draws for a character that it lacks
    for code in range(33, 127):
        mask = face.getmask(chr(code))
        assert mask.getbbox() is not None, chr(code)
        assert bytes(mask) != bytes(blank), chr(code)


def test_unknown_fonts_are_refused() -> None:
    with pytest.raises(InputError, match="no font"):
        font("Comic", 12)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(atlas_module, "FOLDER", tmp_path)
    load_atlas.cache_clear()
    yield tmp_path
    load_atlas.cache_clear()


def test_a_missing_atlas_is_explained(elsewhere: Path) -> None:
    with pytest.raises(InputError, match=r"atlas\.json is missing"):
        load_atlas()


def test_an_atlas_that_does_not_fit_its_list_is_refused(elsewhere: Path) -> None:
    (elsewhere / "atlas.json").write_text('{"cell": 96, "styles": ["noto"], "things": ["dog"]}', encoding="utf-8")
    Image.new("RGBA", (96, 95)).save(elsewhere / "atlas.webp", lossless=True)
    with pytest.raises(InputError, match="do not belong together"):
        load_atlas()


def test_fit_crops_and_centers() -> None:
    art = Image.new("RGBA", (200, 300))
    art.paste((255, 0, 0, 255), (150, 10, 190, 30))
    cell = fit(art)
    assert cell is not None
    assert cell.getchannel("A").getbbox() == (2, 25, 94, 71)
    assert fit(Image.new("RGBA", (10, 10))) is None


def test_pack_names_the_missing_sprite(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"noto has no sprite of dog \(1f436\)"):
        pack({"noto": lambda codepoint: None}, tmp_path)
    assert not list(tmp_path.iterdir())
