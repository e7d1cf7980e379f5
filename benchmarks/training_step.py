"""One training step of MO-SegNet: fp32 against bf16, contiguous against channels last, as ratios in one run.

python benchmarks/training_step.py [--side 512] [--repeats 5] [--device cpu|cuda]
"""

import argparse
import time

import torch

from cxrcad.config import NetworkConfig
from cxrcad.networks.registry import build_network
from cxrcad.training.losses import weighted_cross_entropy


def step_seconds(side: int, last: bool, bf16: bool, repeats: int, device: str) -> float:
    """The median seconds of a step: forward, both losses, backward, Adam."""
    torch.manual_seed(0)
    network = build_network(NetworkConfig(), side)
    layout = torch.channels_last if last else torch.contiguous_format
    network.to(device, memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters())
    image = torch.rand(1, 1, side, side).to(device, memory_format=layout)
    labels = (torch.rand(1, side, side) > 0.5).long().to(device)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            outputs = network(image)
        loss = sum(weighted_cross_entropy(logits, labels, 0.0, 1000.0, 0.0) for logits in outputs.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss.detach())  # waits for a GPU
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    where = f"{torch.get_num_threads()} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    print(f"torch {torch.__version__}, {where}, side {args.side}, one image a step")
    base = 0.0
    for last, bf16 in ((False, False), (True, False), (False, True), (True, True)):
        seconds = step_seconds(args.side, last, bf16, args.repeats, args.device)
        base = base or seconds
        name = f"{'bf16' if bf16 else 'fp32'}, {'channels last' if last else 'contiguous'}"
        print(f"{name:<22} {seconds:7.4f} s   {seconds / base:5.2f} of fp32, contiguous")


if __name__ == "__main__":
    main()
