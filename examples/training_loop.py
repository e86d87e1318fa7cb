"""A classifier that sees new defects in every epoch: torchvision's ResNet-18 trained with `defectaug.DefectAugment`.

    python examples/training_loop.py examples/demo/data --model models/demo --product A

It trains on the normal images of a product alone, the first three quarters of them, half of which the workers of the
`DataLoader` turn into defective ones, and is tested on the other normal images and all real defective ones. (The model
that ships has learnt from these defective images: this shows how it is done, not how well it does on new ones.)

The six epochs of the default are some eighty steps from random weights, two minutes on two CPU cores: of the real
images it named 100 % of the normal ones right, 93 % of the scratches and 100 % of the spots. With the usual momentum of
batch normalisation, 0.1, its statistics are not there yet by then, and all were given one class.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.transforms import v2

import defectaug


class Normals(Dataset):
    """Normal images, each as (image, label) after the augmentation.

    Args:
        files: the images.
        augment: paints defects.
        repeats: how often an epoch goes through the files.
    """

    def __init__(self, files: list[Path], augment: defectaug.DefectAugment, repeats: int) -> None:
        self.files = files * repeats
        self.augment = augment
        self.after = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), *as_input()])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label, mask = self.augment(Image.open(self.files[index]).convert("L"))
        image, mask = self.after(image, mask)  # the mask goes along; a segmenter would be trained on it
        return image, label


def as_input() -> list[v2.Transform]:
    """From a PIL image to what the network takes."""
    scaled = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    return [v2.ToImage(), v2.RGB(), v2.Resize((128, 128)), *scaled]


def real_images(files: list[Path]) -> Tensor:
    """(N, 3, 128, 128)."""
    convert = v2.Compose(as_input())
    return torch.stack([convert(Image.open(file).convert("L")) for file in files])


def train(network: nn.Module, loader: DataLoader, epochs: int) -> float:
    """Trains, and gives back the images that were seen a second."""
    optimiser = torch.optim.AdamW(network.parameters(), 5e-4)
    started, seen = time.monotonic(), 0
    for epoch in range(epochs):
        losses = []
        for images, labels in loader:
            loss = nn.functional.cross_entropy(network(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
            seen += len(labels)
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}")
    return seen / (time.monotonic() - started)


@torch.no_grad()
def test(network: nn.Module, folders: dict[str, list[Path]], classes: tuple[str, ...]) -> dict[str, float]:
    """Share of the real images of each class that are named right."""
    network.eval()
    return {
        name: float((network(real_images(files)).argmax(1) == classes.index(name)).float().mean())
        for name, files in folders.items()
        if files
    }


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of PRODUCT/DEFECT/*.png")
    parser.add_argument("--model", help="model folder; the only or newest one under ./models, where none is named")
    parser.add_argument("--product", required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=8, help="how often an epoch goes through the normal images")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(arguments)
    torch.manual_seed(0)
    augment = defectaug.DefectAugment(args.model, p=0.5, product=args.product)
    folders = {name: sorted((args.data / args.product / name).glob("*.png")) for name in augment.classes}
    normal = folders[augment.classes[0]]
    kept = len(normal) * 3 // 4
    folders[augment.classes[0]] = normal[kept:]
    dataset = Normals(normal[:kept], augment, args.repeats)
    loader = DataLoader(dataset, batch_size=32, shuffle=True, num_workers=args.workers, drop_last=True)
    norm = partial(nn.BatchNorm2d, momentum=0.3)  # few steps: statistics have to follow quickly
    network = resnet18(num_classes=len(augment.classes), norm_layer=norm)
    print(f"{train(network, loader, args.epochs):.1f} images a second, {args.workers} workers")
    right = test(network, folders, augment.classes)
    for name, share in right.items():
        print(f"{name}: {share:.0%} of {len(folders[name])} real images named right")
    return right


if __name__ == "__main__":
    main()
