"""ONNX Runtime's side: generation and translation, from the file that the PyTorch peer exports."""
import worker
import dcgan

import onnxruntime


def prepare(spec):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = worker.THREADS
    session = onnxruntime.InferenceSession(spec["onnx"], options, providers=["CPUExecutionProvider"])
    z = dcgan.pictures(spec["network"], spec["count"]) if spec["work"] == "translate" else dcgan.latents(spec["count"])
    generate = lambda: session.run(None, {"input": z})[0]
    return generate, {"difference": dcgan.largest_difference(generate().transpose(0, 2, 3, 1), spec["pictures"])}


if __name__ == "__main__":
    worker.serve(prepare)
