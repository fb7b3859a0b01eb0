"""A client with the methods of Azure's `MLClient`, whose jobs and assets are on this machine."""
