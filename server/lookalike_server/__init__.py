"""The gRPC service: which stored images look like this one, and which cluster is it in?"""
