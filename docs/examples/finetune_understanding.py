"""Trains a checkpoint of `understanding` on, with nothing but PyTorch and transformers.

    python docs/examples/finetune_understanding.py var/checkpoints/understanding var/finetuned

A few utterances and steps, to show what `cartwright models publish` takes; put your own data here.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from torch import nn
from transformers import BertConfig, BertModel, BertPreTrainedModel, BertTokenizerFast, logging

UTTERANCES = {
    "where has my parcel got to": "track_order",
    "any news of the parcel that you sent": "track_order",
    "i would like my money back": "get_refund",
    "please pay me back for the chipped mug": "get_refund",
    "take my order back before it leaves": "cancel_order",
    "i have changed my mind, do not send it": "cancel_order",
}
STEPS = 10
LEARNING_RATE = 5e-7


class Understanding(BertPreTrainedModel):
    """The encoder as `bert`, and a linear layer by each of these four names."""

    def __init__(self, config: BertConfig, labels: dict[str, list[str]]) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.intent = nn.Linear(config.hidden_size, len(labels["intents"]))
        self.slots = nn.Linear(config.hidden_size, len(labels["slot_tags"]))
        self.sentiment = nn.Linear(config.hidden_size, len(labels["sentiments"]))
        self.out_of_scope = nn.Linear(config.hidden_size, 1)
        self.post_init()

    def intents(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits [n, i] from the mean over the tokens, as serving takes it."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return self.intent((hidden * weights).sum(1) / weights.sum(1))


def main(start: Path, end: Path) -> None:
    """Reads a checkpoint, trains it, writes another one."""
    torch.manual_seed(0)
    labels = json.loads((start / "labels.json").read_text())
    model = Understanding.from_pretrained(start, labels=labels)
    tokenizer = BertTokenizerFast.from_pretrained(start)
    batch = tokenizer(list(UTTERANCES), padding=True, return_tensors="pt")
    wanted = torch.tensor([labels["intents"].index(name) for name in UTTERANCES.values()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    for step in range(STEPS):
        logits = model.intents(batch["input_ids"], batch["attention_mask"])
        loss = nn.functional.cross_entropy(logits, wanted)
        if step == 0:
            print(f"loss before: {loss.item():.3f}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss after:  {loss.item():.3f}")
    model.save_pretrained(end)
    tokenizer.save_pretrained(end)
    shutil.copyfile(start / "labels.json", end / "labels.json")


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
