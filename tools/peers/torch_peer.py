"""PyTorch's side: the training step and generation, eager or compiled. The networks and steps are those of tools/parity, which
proves them equal to pastiche's."""
import contextlib
import copy
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import worker
import dcgan
import translation

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(worker.THREADS)
# The cases of one process are compiled from the same few functions; past the limit they would quietly run eagerly.
torch._dynamo.config.recompile_limit = 64
torch._dynamo.config.fail_on_recompile_limit_hit = True


def load_parity():
    loader = SourceFileLoader("parity", str(Path(__file__).resolve().parent.parent / "parity"))
    module = module_from_spec(spec_from_loader("parity", loader))
    loader.exec_module(module)
    return module


parity = load_parity()


def load(network, weights, form):
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()}, strict=False)
    missing = set(parity.state(network)) ^ set(weights)
    if missing:
        raise ValueError(f"not the same tensors: {sorted(missing)}")
    return network.to(memory_format=getattr(torch, form))


def bce(logits, target):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


class Training:
    def __init__(self, spec, memory_format):
        net = spec["net"]
        G, D = (load(*each, memory_format) for each in zip(parity.networks(dcgan.model(net)), dcgan.first_weights(net)))
        self.average = [value.clone() for value in parity.state(G).values()]
        self.averaged = list(parity.state(G).values())
        self.G_parameters, self.D_parameters = list(G.parameters()), list(D.parameters())
        adam = dict(lr=dcgan.LEARNING_RATE, betas=(dcgan.BETA1, dcgan.BETA2), eps=dcgan.EPSILON, fused=True)
        self.adam_g = torch.optim.Adam(self.G_parameters, **adam)
        self.adam_d = torch.optim.Adam(self.D_parameters, **adam)
        self.D_network = D
        self.G, self.D = (torch.compile(G), torch.compile(D)) if spec["mode"] == "compile" else (G, D)
        self.precision, self.form, self.batch = spec["precision"], spec["form"], spec["batch"]
        self.info = {"parameters": [sum(p.numel() for p in each) for each in (self.G_parameters, self.D_parameters)]}

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else contextlib.nullcontext()

    def gradients(self, loss, parameters, **options):
        # backward() gives a gradient its parameter's order in memory, which the fused Adam takes for granted; grad() does not.
        for parameter in parameters:
            parameter.grad = None
        loss.backward(inputs=parameters, **options)

    def step(self, pictures, z):
        """On pictures [N,H,W,C] as bytes. The losses come back, of G and of D."""
        real = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
        losses = self.joint(real, z) if self.form == "joint" else self.alternating(real, z)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.averaged, 1 - dcgan.EMA_DECAY)
        return [loss.item() for loss in losses]

    def alternating(self, real, z):
        with self.autocast():
            fake = self.G(z)
            loss_d = bce(self.D(real).float(), 1.0) + bce(self.D(fake.detach()).float(), 0.0)
        self.gradients(loss_d, self.D_parameters)
        self.adam_d.step()
        self.D_network.requires_grad_(False)  # spares the compiled form the gradients of D that no one asks for
        with self.autocast():
            loss_g = bce(self.D(fake).float(), 1.0)
        self.gradients(loss_g, self.G_parameters)
        self.adam_g.step()
        self.D_network.requires_grad_(True)
        return loss_g, loss_d

    def joint(self, real, z):
        with self.autocast():
            fake_logits = self.D(self.G(z)).float()
            loss_d = bce(self.D(real).float(), 1.0) + bce(fake_logits, 0.0)
            loss_g = bce(fake_logits, 1.0)
        self.gradients(loss_d, self.D_parameters, retain_graph=True)
        self.gradients(loss_g, self.G_parameters)
        self.adam_d.step()
        self.adam_g.step()
        return loss_g, loss_d


def prepare_training(spec, memory_format):
    training = Training(spec, memory_format)
    pictures, latents = dcgan.batches(spec["net"], spec["batch"], spec["steps"])
    pictures = torch.from_numpy(pictures)
    training.info["losses"] = [training.step(pictures, torch.from_numpy(z)) for z in latents]
    return lambda: training.step(pictures, torch.randn(spec["batch"], dcgan.NZ)), training.info


def prepare_translation(spec, memory_format):
    def words(stream, step, count):
        return np.random.default_rng([stream, step]).integers(0, 2**32, count, np.uint64)

    training = translation.Training(spec["settings"], spec["network"], words)
    weights = dcgan.load_safetensors(spec["weights"])
    for name, network in training.networks.items():
        load(network, {key[2:]: value for key, value in weights.items() if key.startswith(name + ".")}, memory_format)
    training.begin(fused=True)
    if spec["mode"] == "compile":
        for network in training.networks.values():
            network.compile()
        if training.model == "cut":  # calls its halves
            G = training.networks["G"]
            G.encode, G.decode = torch.compile(G.encode), torch.compile(G.decode)
    c = spec["network"]
    size = spec["settings"]["batch"], c["height"], c["width"], c["channels"]
    a, b = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, *size), np.uint8))

    def step():
        return training.step(*(each.permute(0, 3, 1, 2).float() / 127.5 - 1 for each in (a, b)))
    return step, {"losses": [step()[:2] for _ in range(spec["steps"])]}


def prepare_pictures(spec, memory_format):
    weights = dcgan.load_safetensors(spec["weights"])
    G = load(translation.translator(spec["network"]), {key[2:]: value for key, value in weights.items() if key.startswith("G.")},
             memory_format).eval()
    x = torch.from_numpy(dcgan.pictures(spec["network"], spec["count"]))
    return prepare_forward(spec, G, x.contiguous(memory_format=getattr(torch, memory_format)))


def prepare_generation(spec, memory_format):
    G = load(parity.networks(dcgan.model(spec["net"]))[0], dcgan.load_safetensors(spec["model"]), memory_format).eval()
    if not Path(spec["onnx"]).exists() and not parity.check(spec["model"], spec["program"]):
        raise ValueError("its pictures are not pastiche's")
    return prepare_forward(spec, G, torch.from_numpy(dcgan.latents(spec["count"])))


def prepare_forward(spec, G, z):
    """G of z. The eager one writes the file for ONNX Runtime."""
    if spec["mode"] == "compile":
        torch._inductor.config.freezing = True  # weights as constants, batch norms folded into them
        G = torch.compile(G)
    elif not Path(spec["onnx"]).exists():
        torch.onnx.export(copy.deepcopy(G), (z,), spec["onnx"], dynamo=True, input_names=["input"], output_names=["pictures"],
                          external_data=False)

    @torch.no_grad()
    def generate():
        return G(z)

    pictures = generate().permute(0, 2, 3, 1).numpy()
    return generate, {"difference": dcgan.largest_difference(pictures, spec["pictures"])}


WORKS = {"train": prepare_training, "translation": prepare_translation, "generate": prepare_generation,
         "translate": prepare_pictures}


def prepare(spec):
    """Which order of memory is faster depends on the precision, the mode and the processor: the faster of those named."""
    best = None
    for memory_format in spec["formats"]:
        work, info = WORKS[spec["work"]](spec, memory_format)
        ms = min(worker.timed(work) for _ in range(2)) if len(spec["formats"]) > 1 else 0
        if best is None or ms < best[0]:
            best = ms, work, {**info, "note": memory_format}
    return best[1:]


if __name__ == "__main__":
    worker.serve(prepare)
