"""From a question to a prompt, with tokenizers and chat templates as real checkpoints have them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from covspec_core.errors import InvalidSetting
from covspec_core.models.hf import HFModel
from covspec_core.models.wording import Wording
from tests.core.tiny import save

VICUNA = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ part['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""LLaVA 1.5's template in substance: images first, no token that begins the text."""
QUESTION = "What colour is the large circle?"


def byte_pairs(template=VICUNA, begins=True):
    """A byte-level tokenizer; ``<s>`` begins a text, as Llama's does."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>", "<image>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )  # fmt: skip
    core.train_from_iterator([QUESTION, "USER: ASSISTANT: a large circle, a small square"], trainer)
    if begins:
        core.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = template
    return tokenizer


def wording(tokenizer, wrap=("", ""), alias=None):
    return Wording(tokenizer, tokenizer.convert_tokens_to_ids("<image>"), wrap, alias)


def text_of(tokenizer, ids):
    return tokenizer.decode(ids)


def test_a_prompt_is_what_the_librarys_own_processor_makes_of_it():
    tokenizer = byte_pairs()
    ids, _ = wording(tokenizer).prompt(QUESTION, 3)
    text = f"USER: <image><image><image>\n{QUESTION} ASSISTANT:"
    assert ids.tolist() == tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id


def test_a_template_that_begins_the_text_itself_gets_no_second_beginning():
    tokenizer = byte_pairs("<s>" + VICUNA)
    ids, _ = wording(tokenizer).prompt(QUESTION, 2)
    assert (ids == tokenizer.bos_token_id).sum() == 1


def test_the_wrap_goes_around_the_placeholders():
    tokenizer = byte_pairs()
    ids, _ = wording(tokenizer, ("<img>", "</img>")).prompt(QUESTION, 2)
    assert "<img><image><image></img>" in text_of(tokenizer, ids)


def test_an_alias_of_the_placeholder_counts_where_the_template_writes_it():
    plain, other = byte_pairs(), byte_pairs(VICUNA.replace("<image>", "[picture]"))
    for question in (QUESTION, "what is a [picture]"):
        one = wording(plain, alias="[picture]").prompt(question, 2)
        np.testing.assert_array_equal(
            wording(other, alias="[picture]").prompt(question, 2)[0], one[0]
        )


def test_keywords_are_found_though_tokens_join_over_the_questions_border():
    tokenizer = byte_pairs()
    ids, keywords = wording(tokenizer).prompt(f"  {QUESTION}\n", 4)
    words = [tokenizer.decode([i]).strip() for i in ids[keywords]]
    assert "".join(words) == "colourlargecircle"
    assert len(words) > 3
    assert (np.diff(keywords) > 0).all()


def test_the_last_mention_is_the_question():
    tokenizer = byte_pairs(VICUNA.replace("{{ message", "USER asks: {{ message", 1))
    ids, keywords = wording(tokenizer).prompt("USER", 1)
    assert text_of(tokenizer, ids[keywords[-1] + 1 :]).strip() == "ASSISTANT:"


def test_a_question_of_stop_words_alone_is_all_keywords():
    tokenizer = byte_pairs()
    ids, keywords = wording(tokenizer).prompt("what is it", 1)
    assert "".join(tokenizer.decode([i]).strip() for i in ids[keywords]) == "whatisit"


@pytest.mark.parametrize(
    "template",
    [
        VICUNA.replace("<image>", "a picture"),
        VICUNA.replace("<image>", "<image><image>"),
        VICUNA.replace("part['text']", "part['text'].upper()"),
    ],
    ids=["no image", "two images", "another question"],
)
def test_a_template_that_says_something_else_is_refused(template):
    with pytest.raises(InvalidSetting, match="a chat template must hold the image's placeholder"):
        wording(byte_pairs(template)).prompt(QUESTION, 3)


@pytest.mark.parametrize("file", ["chat_template.json", "processor_config.json"])
def test_a_template_kept_with_the_processor_is_found(tmp_path, file):
    plain = HFModel(save("llava", tmp_path))
    template = (tmp_path / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / file).write_text(json.dumps({"chat_template": template}))
    image = Image.new("RGB", (24, 24))
    one, other = (m.prompt(image, "what is this").ids for m in (plain, HFModel(str(tmp_path))))
    np.testing.assert_array_equal(one, other)


def test_a_checkpoint_without_any_template_is_refused(tmp_path):
    save("llava", tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(InvalidSetting, match="must come with a chat template"):
        HFModel(str(tmp_path))


def changed_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return str(folder)


def test_architectures_that_are_not_supported_are_named(tmp_path):
    save("llava", tmp_path)
    with pytest.raises(InvalidSetting, match=r"must be one of \['internvl', .*got 'bert' in"):
        HFModel(changed_config(tmp_path, model_type="bert"))


def test_code_that_comes_with_a_checkpoint_is_never_run(tmp_path):
    """InternVL's original checkpoints bring their own; the converted ones do not."""
    save("llava", tmp_path)
    (tmp_path / "their_config.py").write_text("raise SystemExit('this must not run')\n")
    remote = {"AutoConfig": "their_config.TheirConfig"}
    name = changed_config(tmp_path, model_type="internvl_chat", auto_map=remote)
    with pytest.raises(InvalidSetting, match=r"InternVL's end in -hf"):
        HFModel(name)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json",
                                  "preprocessor_config.json"])  # fmt: skip
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_checkpoint_is_one_clear_error(tmp_path, file, damage):
    save("llava", tmp_path)
    path = tmp_path / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InvalidSetting, match=tmp_path.name):
        HFModel(str(tmp_path))
