"""The indexer's commands. Their modules import torch, faiss and pyarrow only when a command runs."""
